import TestSupport
import Testing

@testable import FSCore

/// What a new file system looks like, on devices in memory.
@Suite(.timeLimit(.minutes(10))) struct MkfsTests {
  private typealias Profile = MakeFilesystem.Profile

  private func make(
    _ sizeBytes: UInt64 = 1 << 30, _ configure: (inout MakeFilesystem.Options) -> Void = { _ in }
  ) throws -> (MemoryDevice, MakeFilesystem.Summary) {
    let device = MemoryDevice(sizeBytes: sizeBytes)
    var options = MakeFilesystem.Options()
    configure(&options)
    return (device, try MakeFilesystem.write(to: device, options: options))
  }

  private func expectRefused(
    _ words: String, _ sizeBytes: UInt64 = 1 << 30, location: SourceLocation = #_sourceLocation,
    _ configure: (inout MakeFilesystem.Options) -> Void
  ) {
    do {
      _ = try make(sizeBytes, configure)
      Issue.record("accepted", sourceLocation: location)
    } catch {
      #expect("\(error)".contains(words), "\(error)", sourceLocation: location)
    }
  }

  /// Every tree can be walked and every item read, and nothing is amiss.
  private func expectReadable(_ device: any BlockDevice) throws {
    let reader = try ImageReader(device: device)
    for tree: TreeID in [
      .root, .extent, .chunk, .device, .topLevel, .checksum, .uuid, .dataRelocation,
    ] {
      try reader.walk(reader.root(of: tree)) { (key, bytes) throws(FilesystemError) in
        let text = ItemText.content(key, bytes, reader.geometry)
        if text.contains("damaged") { throw .corrupt(text) }
        return true
      }
    }
    let survey = CacheSurvey(reader)
    for chunk in reader.chunks {
      let group = survey.survey(chunk, verify: true)
      #expect(group.verdict == .absent)
      #expect(group.comparison?.usedBytes == group.used)
    }
    #expect(reader.problems == [])
  }

  @Test func defaults() throws {
    let (device, summary) = try make()
    let superblock = summary.superblock
    #expect(superblock.nodeSize == 16384)
    #expect(superblock.checksumType == .crc32c)
    #expect(superblock.cacheGeneration == .max)
    #expect(superblock.readOnlyFeatures == [])
    #expect(
      superblock.features
        == [.mixedBackref, .extendedInodeRef, .skinnyMetadata, .noHoles])
    // Places and lengths are those of mkfs.btrfs 6.2.
    #expect(
      summary.chunks.map(\.start) == [13_631_488, 22_020_096, 30_408_704])
    #expect(summary.chunks.map(\.length) == [8_388_608, 8_388_608, 53_673_984])
    #expect(
      summary.chunks.map { $0.item.stripes.map(\.offset.rawValue) } == [
        [13_631_488], [22_020_096, 30_408_704], [38_797_312, 92_471_296],
      ])
    try expectReadable(device)
  }

  @Test(arguments: [false, true]) func freeSpaceTree(hasBlockGroupTree: Bool) throws {
    let (device, summary) = try make { options in
      options.spaceRecord = hasBlockGroupTree ? nil : .v2
      options.hasBlockGroupTree = hasBlockGroupTree
    }
    #expect(summary.superblock.cacheGeneration == 0)
    #expect(
      summary.superblock.readOnlyFeatures
        == (hasBlockGroupTree
          ? [.freeSpaceTree, .freeSpaceTreeValid, .blockGroupTree]
          : [.freeSpaceTree, .freeSpaceTreeValid]))
    let reader = try ImageReader(device: device)
    var infos = 0
    try reader.walk(reader.root(of: .freeSpace)) { (key, bytes) throws(FilesystemError) in
      if key.type == .freeSpaceInfo {
        infos += 1
        #expect(ItemText.content(key, bytes, reader.geometry) == "1 free ranges as extents")
      }
      return true
    }
    #expect(infos == summary.chunks.count)
  }

  /// Then the root tree needs more than one leaf.
  @Test(arguments: [false, true]) func blockGroupTreeInSmallNodes(isMixed: Bool) throws {
    let (device, summary) = try make { options in
      options.nodeSize = 4096
      options.isMixed = isMixed
      options.hasBlockGroupTree = true
    }
    #expect(summary.superblock.rootLevel == 1)
    try CacheJudge.check(device)
  }

  @Test func freeSpaceTreeRefusals() {
    expectRefused("needs a free space tree") {
      $0.spaceRecord = .v1
      $0.hasBlockGroupTree = true
    }
  }

  struct Lengths: Sendable {
    let size: UInt64
    let metadata: UInt64
    let data: UInt64

    init(_ size: UInt64, _ metadata: UInt64, _ data: UInt64) {
      self.size = size
      self.metadata = metadata
      self.data = data
    }
  }

  private static let gibibyte: UInt64 = 1 << 30

  /// The lengths of the first metadata and data groups, as mkfs.btrfs has them (or, for the
  /// smallest, would).
  private static let lengths: [Lengths] = [
    Lengths(134_217_728, 33_554_432, 8_388_608),
    Lengths(734_003_200, 36_700_160, 67_108_864),
    Lengths(1_572_864_000, 78_643_200, 78_643_200),
    Lengths(5 * gibibyte, 268_435_456, 268_435_456),
    Lengths(30 * gibibyte, 268_435_456, gibibyte),
    Lengths(50 * gibibyte, 268_435_456, gibibyte),
    Lengths(51 * gibibyte, gibibyte, gibibyte),
    Lengths(16384 * gibibyte, gibibyte, gibibyte),
  ]

  @Test(arguments: lengths)
  func groupLengths(_ lengths: Lengths) throws {
    let (device, summary) = try make(lengths.size) { $0.data = .dup }
    #expect(summary.chunks.first { $0.item.flags.contains(.metadata) }?.length == lengths.metadata)
    #expect(summary.chunks.first { $0.item.flags.contains(.data) }?.length == lengths.data)
    try expectReadable(device)
  }

  private static let sizes: [UInt64] = [
    134_217_728, 139_460_608, gibibyte, 3 * gibibyte + 12288, 300 * gibibyte, 16384 * gibibyte,
  ]

  @Test(arguments: sizes)
  func everyShape(_ size: UInt64) throws {
    for nodeSize: UInt64 in [4096, 8192, 16384, 32768, 65536] {
      for metadata in Profile.allCases {
        for data in Profile.allCases {
          let (device, summary) = try make(size) {
            $0.nodeSize = nodeSize
            $0.metadata = metadata
            $0.data = data
          }
          try expectReadable(device)
          #expect(summary.superblock.bytesUsed == 8 * nodeSize)
        }
      }
    }
    for profile in Profile.allCases {
      for checksum in ChecksumType.allCases {
        let (device, summary) = try make(size) {
          $0.isMixed = true
          $0.metadata = profile
          $0.checksum = checksum
        }
        #expect(summary.superblock.features.contains(.mixedGroups))
        #expect(summary.superblock.nodeSize == 4096)
        #expect(summary.chunks.allSatisfy { $0.item.flags.contains(.dup) == (profile == .dup) })
        try expectReadable(device)
      }
    }
  }

  @Test func superblockCopies() throws {
    let size = (UInt64(300) << 30) + 4095
    let (device, summary) = try make(size) { $0.label = "Grüße" }
    #expect(summary.superblock.totalBytes == UInt64(300) << 30)
    for offset in Format.superblockOffsets {
      let copy = try ImageOpening.superblock(at: PhysicalAddress(offset), of: device)
      #expect(copy?.address.rawValue == offset)
      #expect(copy?.label == "Grüße")
      try copy?.validate(deviceSize: size)
    }
  }

  /// What an earlier, larger file system left behind is gone.
  @Test func oldSuperblocksAreCleared() throws {
    let (device, _) = try make(300 << 30)
    var options = MakeFilesystem.Options()
    options.sizeBytes = 1 << 30
    let summary = try MakeFilesystem.write(to: device, options: options)
    let states = try Format.superblockOffsets.map {
      try ImageOpening.superblock(at: PhysicalAddress($0), of: device)?.fsid
    }
    #expect(states == [summary.superblock.fsid, summary.superblock.fsid, .zero])
  }

  @Test func wrongOptions() {
    expectRefused("at least 128 MiB", 127 << 20) { _ in }
    expectRefused("do not fit") { $0.sizeBytes = 2 << 30 }
    expectRefused("node size") { $0.nodeSize = 2048 }
    expectRefused("node size") { $0.nodeSize = 131072 }
    expectRefused("node size") { $0.nodeSize = 20000 }
    expectRefused("node size of 4096") {
      $0.isMixed = true
      $0.nodeSize = 16384
    }
    expectRefused("same profile") {
      $0.isMixed = true
      $0.metadata = .dup
      $0.data = .single
    }
    expectRefused("255 bytes") { $0.label = String(repeating: "ü", count: 128) }
    expectRefused("255 bytes") { $0.label = "two\nlines" }
  }

  @Test func identitiesAreKept() throws {
    let uuid = try #require(UUIDBytes(text: "01234567-89ab-cdef-0123-456789abcdef"))
    let (_, summary) = try make { $0.identities.fsid = uuid }
    #expect("\(summary.superblock.fsid)" == "01234567-89ab-cdef-0123-456789abcdef")
    let (_, other) = try make()
    #expect(other.superblock.fsid != uuid)
    #expect(try other.superblock.deviceItem.fsid == other.superblock.fsid)
  }
}

/// What is recognised before it would be overwritten.
@Suite(.timeLimit(.minutes(10))) struct MkfsSignatureTests {
  private static let marks: [(String, UInt64, [UInt8])] = [
    ("XFS", 0, Array("XFSB".utf8)), ("NTFS", 3, Array("NTFS    ".utf8)),
    ("exFAT", 3, Array("EXFAT   ".utf8)), ("FAT", 82, Array("FAT32   ".utf8)),
    ("FAT", 54, Array("FAT16   ".utf8)), ("squashfs", 0, Array("hsqs".utf8)),
    ("ISO 9660", 32769, Array("CD001".utf8)), ("LUKS", 0, Array("LUKS".utf8) + [0xba, 0xbe]),
    ("f2fs", 1024, [0x10, 0x20, 0xf5, 0xf2]), ("swap", 4086, Array("SWAPSPACE2".utf8)),
    ("swap", 65526, Array("SWAPSPACE2".utf8)), ("GPT", 512, Array("EFI PART".utf8)),
    ("LVM", 512, Array("LABELONE".utf8)), ("ZFS", 131072 + 5 * 1024, [0x0c, 0xb1, 0xba, 0]),
    ("RAID", (256 << 20) - 8192, [0xfc, 0x4e, 0x2b, 0xa9]),
    ("qcow2", 0, Array("QFI".utf8) + [0xfb]),
  ]

  private func write(_ bytes: [UInt8], at offset: UInt64, _ device: MemoryDevice) throws {
    try bytes.withUnsafeBytes { try device.write($0, at: PhysicalAddress(offset)) }
  }

  @Test func emptyDevices() throws {
    for size: UInt64 in [0, 511, 4096, 70_000, 256 << 20] {
      #expect(try FilesystemSignatures.find(on: MemoryDevice(sizeBytes: size)) == nil)
    }
  }

  @Test func marks() throws {
    for (name, offset, bytes) in Self.marks {
      let device = MemoryDevice(sizeBytes: 256 << 20)
      try write(bytes, at: offset, device)
      let found = try FilesystemSignatures.find(on: device)
      #expect(found?.contains(name) == true, "\(name): \(found ?? "nothing")")
      // And it is not there any more once a file system has been made.
      _ = try MakeFilesystem.write(to: device, options: MakeFilesystem.Options())
      #expect(try FilesystemSignatures.find(on: device)?.contains("btrfs") == true)
    }
  }

  /// What is not at the end of a boot sector that has partitions is no partition table.
  @Test func partitionTable() throws {
    let device = MemoryDevice(sizeBytes: 256 << 20)
    try write([0x55, 0xaa], at: 510, device)
    #expect(try FilesystemSignatures.find(on: device) == nil)
    try write([0x83], at: 446 + 16 + 4, device)
    #expect(try FilesystemSignatures.find(on: device)?.contains("MBR") == true)
  }

  /// The tools' own file systems, where they are installed.
  @Test(arguments: [
    ["mkfs.ext4", "-q", "-F"], ["mkfs.ext3", "-q", "-F"], ["mkfs.ext2", "-q", "-F"],
    ["mkfs.xfs", "-q"], ["mkfs.ntfs", "-q", "-F", "-f"], ["mkfs.vfat"], ["mkfs.exfat"],
    ["mkswap"], ["mkfs.btrfs", "-q"], ["mkfs.f2fs", "-q"],
  ])
  func realOnes(_ command: [String]) throws {
    guard Shell.find(command[0]) != nil else { return }
    let directory = try TemporaryDirectory(inMemory: true)
    let image = directory.file("image")
    try Shell.run("truncate", "-s", "400M", image).orThrow()
    try Shell.run(command + [image]).orThrow()

    var options = MakeFilesystem.Options()
    do {
      _ = try MakeFilesystem.create(path: image, options: options)
      Issue.record("\(command[0]): overwritten")
    } catch {
      let kind = command[0].split(separator: ".").last.map(String.init) ?? ""
      let name = ["mkswap": "swap", "vfat": "FAT"][kind] ?? kind
      #expect("\(error)".lowercased().contains(name.lowercased()), "\(error)")
      #expect("\(error)".contains("--force"), "\(error)")
    }
    options.force = true
    _ = try MakeFilesystem.create(path: image, options: options)
    try ImageCheck.expectSound(image)
    #expect(try Shell.run("blkid", "-p", "-o", "value", "-s", "TYPE", image).output == "btrfs\n")
  }
}

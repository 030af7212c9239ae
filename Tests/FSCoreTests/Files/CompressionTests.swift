import Glibc
import TestSupport
import Testing

@testable import FSCore

/// What becomes of files that are compressed: which are, how they stand on the device, what the
/// image says of it.
@Suite(.timeLimit(.minutes(10))) struct CompressionTests {
  static func text(_ count: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    var line = 0
    while bytes.count < count {
      bytes += Array("line \(line) has \(line &* 2_654_435_761 % 1000) words\n".utf8)
      line += 1
    }
    return Array(bytes.prefix(count))
  }

  static func noise(_ count: Int, seed: UInt64) -> [UInt8] {
    var random = SeededRandom(testSeed: seed)
    return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
  }

  /// It looks as if it could be compressed, and cannot: each byte of a few values, in no order.
  static func deceptive(_ count: Int, seed: UInt64) -> [UInt8] {
    // Bits that are even by value, but too few for a sector of LZ77 alone.
    var random = SeededRandom(testSeed: seed)
    return (0..<count).map { _ in UInt8(random.below(60)) &* 4 }
  }

  private static func mount(
    _ device: MemoryDevice, _ option: String?, isForced: Bool = false
  ) throws -> Volume {
    try Volume.mountForTest(device) { $0.compress(option, isForced: isForced) }
  }

  private static func extents(_ volume: Volume, _ id: InodeID) throws -> [FileExtent] {
    volume.files.flushAll()
    let inode = try volume.content.file(id)
    return try inode.content.shared { () throws(FilesystemError) in
      try inode.extents(in: 0..<UInt64.max)
    }
  }

  private static func features(_ device: MemoryDevice) throws -> IncompatibleFeatures {
    try ImageReader(device: device).superblock.features
  }

  @Test(.timeLimit(.minutes(1)), arguments: ["zlib:1", "lzo", "zstd", "zstd:-10", "zstd:15"])
  func extentsOf128KiB(option: String) throws {
    let device = try TestImage.make()
    let volume = try Self.mount(device, option)
    let bytes = Self.text(300_001)
    let id = try volume.makeFile("/f")
    try volume.writeBytes(id, at: 0, bytes)
    #expect(try volume.readBytes(id, at: 0, count: 400_000) == bytes)
    let found = try Self.extents(volume, id)
    let algorithm = try #require(CompressionMethod(option: option)).algorithm
    #expect(found.map(\.start) == [0, 131_072, 262_144])
    for extent in found {
      let item = extent.item
      #expect(item.compression == algorithm && item.kind == .regular && item.offset == 0)
      #expect(item.diskLength % 4096 == 0 && item.diskLength < item.ramBytes)
      #expect(item.ramBytes == item.length)
    }
    #expect(found.map(\.item.length) == [131_072, 131_072, 40960])
    #expect(try volume.item(id).nbytes == 303_104)
    // One stands behind the other, and what was reserved and not needed is free again.
    #expect(found[1].item.diskAddress == found[0].item.diskAddress + found[0].item.diskLength)
    #expect(volume.space.groups.data.counters.withLock { $0.reservedData } == 0)
    try volume.unmount()
    #expect(try Self.features(device).isSuperset(of: algorithm.feature))

    // Without the option what is there stays as it is, and new data are not compressed.
    let again = try Self.mount(device, nil)
    #expect(try again.readBytes(id, at: 0, count: 400_000) == bytes)
    try again.writeBytes(id, at: 131_072, Array(bytes[131_072..<140_000]))
    let changed = try Self.extents(again, id)
    #expect(changed.map(\.item.compression) == [algorithm, .none, algorithm, algorithm])
    #expect(changed[2].item.offset == 12288 && changed[2].item.ramBytes == 131_072)
    #expect(try again.readBytes(id, at: 0, count: 400_000) == bytes)
    try again.unmount()
    #expect(try Self.features(device).isSuperset(of: algorithm.feature))
    try CacheJudge.check(device)
  }

  /// The superblock names an algorithm from the commit on that has its first extent, also where that
  /// stands in an item.
  @Test(.timeLimit(.minutes(1)), arguments: [300, 100_000])
  func imageNamesTheAlgorithm(count: Int) throws {
    for (option, feature) in [
      ("zlib", []), ("lzo", .compressLZO), ("zstd", .compressZSTD),
    ] as [(String, IncompatibleFeatures)] {
      let device = try TestImage.make()
      let volume = try Self.mount(device, option)
      let both: IncompatibleFeatures = [.compressLZO, .compressZSTD]
      let id = try volume.makeFile("/f")
      try volume.synchronizeAll()
      #expect(try Self.features(device).isDisjoint(with: both))
      try volume.writeBytes(id, at: 0, Self.text(count))
      try volume.synchronizeAll()
      #expect(try Self.features(device).intersection(both) == feature)
      try volume.unmount()
    }
  }

  @Test(.timeLimit(.minutes(1)))
  func smallFilesStandInTheirItems() throws {
    let device = try TestImage.make()
    let volume = try Self.mount(device, "zstd")
    let cases: [(bytes: [UInt8], inline: Bool, compressed: Bool)] = [
      ([7], true, false), (Array("some text".utf8), true, false), (Self.text(1000), true, true),
      (Self.text(4000), true, true), ([UInt8](repeating: 3, count: 4096), true, true),
      ([UInt8](repeating: 3, count: 4097), false, true), (Self.noise(2000, seed: 1), true, false),
      (Self.noise(2100, seed: 2), false, false), (Self.noise(4096, seed: 3), false, false),
    ]
    for (index, (bytes, isInline, isCompressed)) in cases.enumerated() {
      let id = try volume.makeFile("/f\(index)")
      try volume.writeBytes(id, at: 0, bytes)
      let found = try Self.extents(volume, id)
      #expect(found.count == 1 && found[0].isInline == isInline, "case \(index)")
      #expect((found[0].item.compression == .zstd) == isCompressed, "case \(index)")
      if isInline {
        #expect(found[0].item.ramBytes == UInt64(bytes.count))
        #expect(found[0].inlineBytes.count <= (isCompressed ? bytes.count - 1 : bytes.count))
      }
      #expect(try volume.readBytes(id, at: 0, count: 10_000) == bytes)
      #expect(!(try volume.item(id).flags.contains(.noCompress)), "case \(index)")
    }
    try volume.unmount()
    let again = try Self.mount(device, nil)
    for (index, (bytes, _, _)) in cases.enumerated() {
      let id = try again.find("/f\(index)")
      #expect(try again.readBytes(id, at: 0, count: 10_000) == bytes)
      // Longer, shorter, and changed in between.
      var expected = bytes
      try again.writeBytes(id, at: 0, [9])
      expected[0] = 9
      try again.writeBytes(id, at: 5000, [1, 2, 3])
      expected += [UInt8](repeating: 0, count: 5000 - bytes.count) + [1, 2, 3]
      again.files.flushAll()
      #expect(try again.readBytes(id, at: 0, count: 10_000) == expected)
      var changes = AttributeChanges()
      changes.size = 600
      _ = try again.attributes.setAttributes(id, changes)
      #expect(try again.readBytes(id, at: 0, count: 10_000) == Array(expected.prefix(600)))
    }
    try again.unmount()
    try CacheJudge.check(device)
  }

  @Test(.timeLimit(.minutes(1)))
  func whatDoesNotShrinkIsLeftAlone() throws {
    let device = try TestImage.make()
    let volume = try Self.mount(device, "zstd")
    // Between text, and by itself: stored as it is, in one extent.
    let mixed = try volume.makeFile("/mixed")
    let noise = Self.noise(1 << 20, seed: 7)
    try volume.writeBytes(mixed, at: 0, Self.text(131_072) + noise + Self.text(131_072))
    let found = try Self.extents(volume, mixed)
    #expect(found.map(\.item.compression) == [.zstd, .none, .zstd])
    #expect(found.map(\.item.length) == [131_072, 1 << 20, 131_072])
    // It was plain from the looks of it, so nothing is remembered.
    #expect(!(try volume.item(mixed).flags.contains(.noCompress)))
    try volume.unmount()
    try CacheJudge.check(device)
  }

  /// LZO has no code for single bytes, so these look better than they are.
  @Test(.timeLimit(.minutes(1)))
  func filesThatDoNotShrinkAreRemembered() throws {
    let device = try TestImage.make()
    var volume = try Self.mount(device, "lzo")
    let id = try volume.makeFile("/f")
    let bytes = Self.deceptive(300_000, seed: 9)
    try volume.writeBytes(id, at: 0, bytes)
    #expect(try Self.extents(volume, id).allSatisfy { $0.item.compression == .none })
    #expect(try volume.item(id).flags.contains(.noCompress))
    try volume.writeBytes(id, at: 0, Self.text(300_000))
    #expect(try Self.extents(volume, id).allSatisfy { $0.item.compression == .none })
    try volume.unmount()

    // By force it is tried all the same, and nothing is remembered; the flag stays.
    volume = try Self.mount(device, "lzo", isForced: true)
    #expect(try volume.item(id).flags.contains(.noCompress))
    try volume.writeBytes(id, at: 0, Self.text(300_000))
    #expect(try Self.extents(volume, id).allSatisfy { $0.item.compression == .lzo })
    let other = try volume.makeFile("/other")
    try volume.writeBytes(other, at: 0, bytes)
    #expect(try Self.extents(volume, other).allSatisfy { $0.item.compression == .none })
    #expect(!(try volume.item(other).flags.contains(.noCompress)))

    // A file that was asked to be compressed is tried again, too.
    try volume.unmount()
    volume = try Self.mount(device, nil)
    let asked = try volume.makeFile("/asked")
    try volume.attributes.setAttribute(
      asked, ExtendedAttributes.compressionProperty, Array("lzo".utf8))
    try volume.writeBytes(asked, at: 0, bytes)
    #expect(try Self.extents(volume, asked).allSatisfy { $0.item.compression == .none })
    #expect(try volume.item(asked).flags == .compress)
    try volume.unmount()
    try CacheJudge.check(device)
  }

  @Test(.timeLimit(.minutes(1)))
  func filesSayThemselvesHow() throws {
    typealias Expected = FileExtentItem.Compression
    let cases: [(option: String?, isForced: Bool, flags: InodeFlags, property: String?, Expected)] =
      [
        (nil, false, [], nil, .none), (nil, false, .compress, nil, .zlib),
        (nil, false, .compress, "zstd", .zstd), (nil, false, .compress, "lzo", .lzo),
        (nil, false, .noCompress, "no", .none), ("zstd:5", false, [], nil, .zstd),
        ("zstd", false, .compress, "lzo", .lzo), ("zstd", false, .noCompress, nil, .none),
        ("zstd", true, .noCompress, nil, .zstd), ("zstd:-9", true, .compress, "zlib", .zlib),
        ("zstd", true, [.noDataCow, .noDataSum], nil, .none),
        ("zstd", true, .noDataSum, nil, .none),
        (nil, false, [.compress, .noDataCow, .noDataSum], nil, .none),
      ]
    for (option, isForced, flags, property, expected) in cases {
      let device = try TestImage.make()
      let volume = try Self.mount(device, option, isForced: isForced)
      let id = try volume.makeFile("/f")
      if let property {
        try volume.attributes.setAttribute(
          id, ExtendedAttributes.compressionProperty, Array(property.utf8))
      }
      try volume.addFlags(id, flags)
      try volume.writeBytes(id, at: 0, Self.text(200_000))
      let found = try Self.extents(volume, id)
      #expect(
        found.allSatisfy { $0.item.compression == expected },
        "\(option ?? "-") \(isForced) \(flags) \(property ?? "-")")
      try volume.unmount()
      try CacheJudge.check(device)
    }
  }

  /// Preallocated space is written in place, and so is not compressed.
  @Test(.timeLimit(.minutes(1)))
  func preallocatedSpaceIsNotCompressed() throws {
    let device = try TestImage.make()
    let volume = try Self.mount(device, "zstd", isForced: true)
    let id = try volume.makeFile("/f")
    try volume.content.allocate(id, .plain, offset: 131_072, length: 131_072)
    try volume.writeBytes(id, at: 0, Self.text(393_216))
    #expect(
      try Self.extents(volume, id).map(\.item.compression) == [.zstd, .none, .zstd])
    #expect(try volume.readBytes(id, at: 0, count: 400_000) == Self.text(393_216))
    try volume.unmount()
    try CacheJudge.check(device)
  }

  /// Parts of a compressed extent keep it, the last of them lets it go.
  @Test(.timeLimit(.minutes(1)))
  func partsKeepTheirExtent() throws {
    let device = try TestImage.make()
    let volume = try Self.mount(device, "zstd")
    let id = try volume.makeFile("/f")
    var bytes = Self.text(131_072)
    try volume.writeBytes(id, at: 0, bytes)
    let whole = try #require(try Self.extents(volume, id).first)
    for offset in [8192, 65536, 122_880] {
      let new = Self.noise(4096, seed: UInt64(offset))
      try volume.writeBytes(id, at: UInt64(offset), new)
      bytes.replaceSubrange(offset..<(offset + 4096), with: new)
    }
    try volume.content.allocate(id, .punchHole, offset: 32768, length: 8192)
    bytes.replaceSubrange(32768..<40960, with: [UInt8](repeating: 0, count: 8192))
    let parts = try Self.extents(volume, id).filter { $0.item.compression == .zstd }
    #expect(parts.count == 5)
    #expect(parts.allSatisfy { $0.item.diskAddress == whole.item.diskAddress })
    #expect(parts.allSatisfy { $0.item.offset == $0.start && $0.item.ramBytes == 131_072 })
    #expect(try volume.readBytes(id, at: 0, count: 200_000) == bytes)
    try volume.synchronizeAll()
    let used = volume.space.groups.data.counters.withLock { $0.used }
    #expect(used == whole.item.diskLength + 3 * 4096)
    var changes = AttributeChanges()
    changes.size = 0
    _ = try volume.attributes.setAttributes(id, changes)
    try volume.synchronizeAll()
    #expect(volume.space.groups.data.counters.withLock { $0.used } == 0)
    try volume.unmount()
    try CacheJudge.check(device)
  }

  /// Batches of several files share the workers that help.
  @Test(.timeLimit(.minutes(1)))
  func manyFilesAtOnce() throws {
    let device = try TestImage.make()
    let volume = try Self.mount(device, "zstd")
    let contents = (0..<12).map { Self.text(900_000 + $0 * 4097) }
    let ids = try (0..<12).map { try volume.makeFile("/f\($0)") }
    try onThreads(4) { thread in
      for index in stride(from: thread, to: 12, by: 4) {
        try volume.writeBytes(ids[index], at: 0, contents[index])
      }
    }
    volume.files.flushAll()
    for (id, bytes) in zip(ids, contents) {
      #expect(try volume.readBytes(id, at: 0, count: 1 << 20) == bytes)
      // But for a last sector by itself.
      #expect(
        try Self.extents(volume, id).allSatisfy {
          $0.item.compression == .zstd || $0.item.length == 4096
        })
    }
    try volume.unmount()
    try CacheJudge.check(device)
  }

  /// A balance moves the bytes as they are.
  @Test(.timeLimit(.minutes(1)))
  func balanced() throws {
    let device = try TestImage.make()
    let volume = try Self.mount(device, "zlib")
    let id = try volume.makeFile("/f")
    let bytes = Self.text(500_000)
    try volume.writeBytes(id, at: 0, bytes)
    let before = try Self.extents(volume, id)
    try volume.writeBytes(id, at: 8192, [1, 2, 3])
    try volume.synchronizeAll()
    try volume.balanceAll()
    let after = try Self.extents(volume, id).filter { $0.item.compression == .zlib }
    #expect(Set(after.map(\.item.diskLength)) == Set(before.map(\.item.diskLength)))
    #expect(Set(after.map(\.item.diskAddress)).isDisjoint(with: before.map(\.item.diskAddress)))
    var expected = bytes
    expected.replaceSubrange(8192..<8195, with: [1, 2, 3])
    #expect(try volume.readBytes(id, at: 0, count: 600_000) == expected)
    try volume.unmount()
    try CacheJudge.check(device)
  }
}

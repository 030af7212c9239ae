import FreeSpace
import Synchronization
import TestSupport
import Testing

@testable import FSCore

/// Holds an image's free space tree against its extent tree, by code that reads the image and has
/// no part in writing it.
enum FreeSpaceTreeJudge {
  static func judge(_ device: any BlockDevice, _ comment: Comment? = nil) throws {
    let reader = try ImageReader(device: device)
    let survey = CacheSurvey(reader)
    let features = reader.superblock.readOnlyFeatures
    #expect(features.isSuperset(of: [.freeSpaceTree, .freeSpaceTreeValid]), comment)
    #expect(reader.superblock.cacheGeneration == 0, comment)
    for chunk in reader.chunks {
      let group = survey.survey(chunk, verify: true)
      #expect(group.verdict == .valid, "\(comment as Any): group \(chunk.start): \(group.reasons)")
      #expect(group.isWhole && group.comparison?.agrees == true, comment)
    }
    #expect(reader.problems.isEmpty, comment)
  }

  /// Nothing of v1: no header, no hidden inode.
  static func expectNoCaches(_ device: any BlockDevice) throws {
    let reader = try ImageReader(device: device)
    try reader.walk(reader.rootOfRootTree) { (key, _) throws(FilesystemError) in
      #expect(key.objectID != .freeSpace)
      // The root tree's directory is inode 6; free space inodes have numbers of files.
      #expect(key.type != .inodeItem || key.objectID < .firstFree)
      #expect(key.type != .extentData)
      return true
    }
  }

  /// Nothing of v1 nor of v2.
  static func expectNoRecord(_ device: any BlockDevice) throws {
    try expectNoCaches(device)
    try expectNoTree(device)
  }

  /// Nothing of v2: no flag, no root item, no block.
  static func expectNoTree(_ device: any BlockDevice) throws {
    let reader = try ImageReader(device: device)
    #expect(
      reader.superblock.readOnlyFeatures.isDisjoint(with: [.freeSpaceTree, .freeSpaceTreeValid]))
    try reader.walk(reader.rootOfRootTree) { (key, _) throws(FilesystemError) in
      #expect(key.objectID != TreeID.freeSpace.objectID || key.type != .rootItem)
      return true
    }
    try reader.walk(reader.root(of: .extent)) { (key, bytes) throws(FilesystemError) in
      if key.type == .metadataItem { #expect(bytes.u64(25) != TreeID.freeSpace.rawValue) }
      return true
    }
  }
}

/// Free space trees of whole volumes: exact at every commit, whatever happens to them.
@Suite(.timeLimit(.minutes(10))) struct FreeSpaceTreeTests {
  struct Variant: Sendable, CustomTestStringConvertible {
    var name: String
    var seed: UInt64
    var nodeSize: UInt64?
    var isMixed = false
    var hasBlockGroupTree = false
    var testDescription: String { "\(name), seed \(seed)" }

    func makeImage() throws -> MemoryDevice {
      try TestImage.make(sizeBytes: 3 << 30) { options in
        options.nodeSize = nodeSize
        options.isMixed = isMixed
        options.spaceRecord = .v2
        options.hasBlockGroupTree = hasBlockGroupTree
      }
    }
  }

  static let variants = [
    Variant(name: "default", seed: 1), Variant(name: "4 KiB nodes", seed: 2, nodeSize: 4096),
    Variant(name: "mixed", seed: 3, isMixed: true),
    Variant(name: "block group tree", seed: 4, hasBlockGroupTree: true),
  ]

  @Test(.timeLimit(.minutes(6)), arguments: variants)
  func everyCommitLeavesAnExactTree(variant: Variant) throws {
    print("free space tree: \(variant.testDescription)")
    let device = try variant.makeImage()
    var random = SeededRandom(testSeed: variant.seed)
    for round in 0..<3 {
      let volume = try Volume.mountForTest(device)
      #expect(!volume.isReadOnly)
      // More than the small groups of a new file system hold: others are made.
      let large = try volume.makeFile("/large\(round)")
      try volume.writeBytes(large, at: 0, [UInt8](repeating: 1, count: 10 << 20))
      var work = SpaceWorkload(volume, seed: random.next())
      for commit in 0..<3 {
        for _ in 0..<60 { try work.step() }
        try volume.synchronizeAll()
        try FreeSpaceTreeJudge.judge(device.copy(), "round \(round), commit \(commit)")
      }
      if round == 1 { try volume.fragment("/fragments", holes: 900) }
      if round == 2 { try volume.remove("/fragments") }
      try volume.unmount()
      try FreeSpaceTreeJudge.judge(device)
    }
    try CacheJudge.check(device)
  }

  private static func used(_ variant: Variant) throws -> MemoryDevice {
    let device = try variant.makeImage()
    let volume = try Volume.mountForTest(device)
    var work = SpaceWorkload(volume, seed: variant.seed)
    for _ in 0..<150 { try work.step() }
    try volume.fragment("/fragments", holes: 300)
    try volume.unmount()
    return device
  }

  /// What the loader says of each group is what the extent tree says.
  @Test(.timeLimit(.minutes(6)), arguments: variants)
  func theNextMountBelievesTheTree(variant: Variant) throws {
    let device = try Self.used(variant)
    let volume = try Volume.mountForTest(device)
    defer { try? volume.unmount() }
    let scan = ExtentTreeScan(extentTree: volume.trees.extent, geometry: volume.geometry)
    for group in volume.space.groups.all {
      guard case .found(let index) = try volume.record.freeSpace(of: group) else {
        Issue.record("group \(group.start) is not believed")
        continue
      }
      var ranges: [[UInt64]] = [[], []]
      index.forEachRange { ranges[0] += [$0, $1] }
      try scan.gaps(of: group).forEachRange { ranges[1] += [$0, $1] }
      #expect(ranges[0] == ranges[1], "group \(group.start)")
      volume.space.loader.load(group)
      #expect(group.loading == .loaded)
    }
  }

  private static func write(_ block: AlignedBuffer, _ reader: ImageReader) throws {
    let address = LogicalAddress(block.readable.u64(BlockHeader.Offset.address))
    reader.geometry.checksumType.seal(block.bytes)
    try reader.device.write(block.readable, at: address)
  }

  private static func leaves(of tree: TreeID, _ reader: ImageReader) throws -> [AlignedBuffer] {
    var leaves: [AlignedBuffer] = []
    try reader.walkBlocks(reader.root(of: tree)) { (pointer, bytes) throws(FilesystemError) in
      guard pointer.level == 0 else { return true }
      let copy = AlignedBuffer(count: bytes.count)
      copy.bytes.store(bytes, at: 0)
      leaves.append(copy)
      return true
    }
    return leaves
  }

  /// One bit of an item is wrong, with a right checksum: the group is found in the extent tree,
  /// its items are written anew, and no data is lost.
  @Test(.timeLimit(.minutes(6)), arguments: 0..<UInt64(24))
  func aTamperedItemIsNotBelieved(seed: UInt64) throws {
    var random = SeededRandom(testSeed: seed)
    let variant = Self.variants[Int(seed % 4)]
    let device = Self.usedImages[Int(seed % 4)].copy()
    let before = try Self.state(device)
    let reader = try ImageReader(device: device)
    let leaf = try #require(Self.leaves(of: .freeSpace, reader).randomElement(using: &random))
    let count = Int(leaf.readable.u32(BlockHeader.Offset.itemCount))
    let slot = random.below(count)
    let at = Format.headerSize + slot * Format.itemHeaderSize
    let size = Int(leaf.readable.u32(at + 0x15))
    // The key's numbers or the content; the order of the keys must stay, or the block is damaged.
    if size > 0, random.below(2) == 0 {
      let place = Format.headerSize + Int(leaf.readable.u32(at + 0x11)) + random.below(size)
      leaf.bytes[place] ^= UInt8(1 << random.below(8))
    } else {
      leaf.bytes[at + 9 + random.below(5)] ^= UInt8(1 << random.below(8))
    }
    try Self.write(leaf, reader)
    let address = LogicalAddress(leaf.readable.u64(at))

    let volume = try Volume.mountForTest(device)
    // The system's groups are found in the extent tree at every mount.
    let isLoading =
      try random.below(2) == 0
      && !volume.space.groups.group(containing: address).flags.contains(.system)
    if isLoading { for group in volume.space.groups.all { volume.space.loader.load(group) } }
    #expect(volume.space.groups.all.allSatisfy { $0.loading != .damaged })
    var work = SpaceWorkload(volume, seed: seed)
    for _ in 0..<40 { try work.step() }
    for path in work.files.values.sorted() { try volume.remove(path) }
    try volume.unmount()
    #expect(try Self.state(device) == before, "\(variant.name)")
    if isLoading {
      try FreeSpaceTreeJudge.judge(device)
      try CacheJudge.check(device)
    }
  }

  private static let usedImages: [MemoryDevice] = variants.map { variant in
    do { return try used(variant) } catch { fatalError("\(error)") }
  }

  private static func state(_ device: any BlockDevice) throws -> [String] {
    let volume = try Volume.mountForTest(device) { $0.readOnly = true }
    defer { try? volume.unmount() }
    return try volume.stateLines()
  }

  /// A leaf of the tree that cannot be read costs the tree, not the volume.
  @Test(.timeLimit(.minutes(6)), arguments: variants)
  func anUnreadableLeaf(variant: Variant) throws {
    let device = try Self.used(variant)
    let reader = try ImageReader(device: device)
    let leaves = try Self.leaves(of: .freeSpace, reader)
    // A root that cannot be read is another matter.
    guard leaves.count > 1, let leaf = leaves.last else { return }
    let address = LogicalAddress(leaf.readable.u64(BlockHeader.Offset.address))
    leaf.bytes[200] ^= 1
    try reader.device.write(leaf.readable, at: address)

    let volume = try Volume.mountForTest(device)
    for group in volume.space.groups.all { volume.space.loader.load(group) }
    var work = SpaceWorkload(volume, seed: 9)
    for _ in 0..<60 { try work.step() }
    try volume.unmount()
    try FreeSpaceTreeJudge.judge(device)
    try CacheJudge.check(device)
  }

  /// What the invariants are for: items that are not what the group's picture says are told of.
  @Test func wrongItemsBreakTheInvariants() throws {
    let device = try Self.variants[0].makeImage()
    let volume = try Volume.mountForTest(device)
    let id = try volume.makeFile("/a")
    try volume.writeBytes(id, at: 0, [UInt8](repeating: 1, count: 100_000))
    try volume.synchronizeAll()
    #expect(volume.brokenInvariants() == [])
    let record = try #require(volume.record as? FreeSpaceTree)
    let group = try #require(
      volume.space.groups.all.first { $0.loading == .loaded && $0.flags.contains(.data) })
    let tree = try #require(record.state.withLock { $0.tree })
    try volume.transactions.perform(reserving: 8) { (handle) throws(FilesystemError) in
      try FreeSpaceTreeGroup(tree, group).write(group.emptyIndex(), in: handle)
    }
    #expect(record.brokenInvariants() == [])
    volume.space.groups.listAsDirty(group)
    #expect(record.brokenInvariants().count == 1)
    // The next commit would trap.
    record.distrust(group)
    try volume.unmount()
    try FreeSpaceTreeJudge.judge(device)
  }

  /// Without the VALID flag no mount believes the tree, and it is made anew at mount.
  @Test(.timeLimit(.minutes(6)), arguments: variants)
  func notValid(variant: Variant) throws {
    let device = try Self.used(variant)
    // Stale content, as a writer leaves that does not know the tree.
    let reader = try ImageReader(device: device)
    for leaf in try Self.leaves(of: .freeSpace, reader) {
      leaf.bytes.store(UInt32(0), at: BlockHeader.Offset.itemCount)
      try Self.write(leaf, reader)
    }
    var superblock = reader.superblock
    superblock.readOnlyFeatures.remove(.freeSpaceTreeValid)
    for offset in Superblock.offsets(deviceSize: device.sizeBytes) {
      let copy = superblock.sealed(for: offset)
      defer { withExtendedLifetime(copy) {} }
      try device.write(copy.readable, at: offset)
    }
    let volume = try Volume.mountForTest(device)
    try FreeSpaceTreeJudge.judge(device.copy())
    try volume.unmount()
    try CacheJudge.check(device)
  }

  // Changing from one record to another.

  struct Change: Sendable, CustomTestStringConvertible {
    var from: VolumeOptions.SpaceCache
    var to: VolumeOptions.SpaceCache
    var testDescription: String { "from \(from) to \(to)" }
  }

  private static let changes: [Change] = {
    let kinds: [VolumeOptions.SpaceCache] = [.v1, .v2, .none]
    return kinds.flatMap { from in (kinds + [.asImage]).map { Change(from: from, to: $0) } }
  }()

  /// One commit, at mount, and nothing of the other record is left.
  @Test(.timeLimit(.minutes(6)), arguments: changes)
  func changing(change: Change) throws {
    let device = try TestImage.make(sizeBytes: 2 << 30)
    var volume = try Volume.mountForTest(device) { $0.spaceCache = change.from }
    var work = SpaceWorkload(volume, seed: 3)
    for _ in 0..<80 { try work.step() }
    try volume.fragment("/fragments", holes: 400)
    try volume.unmount()
    let before = try Self.state(device)
    let generation = try ImageReader(device: device).superblock.generation

    volume = try Volume.mountForTest(device) { $0.spaceCache = change.to }
    let expected = change.to == .asImage ? change.from : change.to
    // At mount, in one commit.
    let mounted = try ImageReader(device: device.copy()).superblock
    #expect(mounted.generation.rawValue <= generation.rawValue + 1)
    try Self.expect(expected, device.copy())
    work = SpaceWorkload(volume, seed: 4)
    for _ in 0..<40 { try work.step() }
    for path in work.files.values.sorted() { try volume.remove(path) }
    try volume.unmount()
    try Self.expect(expected, device)
    try CacheJudge.check(device)
    #expect(try Self.state(device) == before)
  }

  private static func expect(_ kind: VolumeOptions.SpaceCache, _ device: MemoryDevice) throws {
    let superblock = try ImageReader(device: device).superblock
    switch kind {
    case .v2:
      try FreeSpaceTreeJudge.judge(device)
      try FreeSpaceTreeJudge.expectNoCaches(device)
    case .v1, .asImage:
      #expect(superblock.cacheGeneration == superblock.generation.rawValue)
      try FreeSpaceTreeJudge.expectNoTree(device)
      try CacheJudge.judge(device)
    case .none:
      #expect(superblock.cacheGeneration == 0)
      try FreeSpaceTreeJudge.expectNoTree(device)
      try FreeSpaceTreeJudge.expectNoCaches(device)
    }
  }

  @Test func aBlockGroupTreeNeedsTheFreeSpaceTree() throws {
    let device = try TestImage.make { $0.hasBlockGroupTree = true }
    for kind in [VolumeOptions.SpaceCache.v1, .none] {
      #expect(throws: FilesystemError.self) {
        _ = try Volume.mountForTest(device) { $0.spaceCache = kind }
      }
    }
    let volume = try Volume.mountForTest(device) { $0.spaceCache = .v2 }
    try volume.makeFile("/file")
    try volume.unmount()
    try FreeSpaceTreeJudge.judge(device)
  }

  @Test func clearCache() throws {
    let device = try Self.used(Self.variants[0])
    let volume = try Volume.mountForTest(device) { $0.clearCache = true }
    try FreeSpaceTreeJudge.judge(device.copy())
    try volume.unmount()
    try CacheJudge.check(device)
  }

  /// Writers on several threads while commits follow one another and groups are loaded.
  @Test(.timeLimit(.minutes(6)))
  func threads() throws {
    let device = try Self.used(Self.variants[0])
    let volume = try Volume.mountForTest(device)
    let isDone = Atomic<Bool>(false)
    var threads: [BackgroundThread] = []
    let failures = Guarded<[String]>([], rank: .leaf)
    for number in 0..<3 {
      threads.append(
        BackgroundThread {
          do {
            try volume.makeDirectory("/t\(number)")
            var random = SeededRandom(testSeed: UInt64(number))
            for step in 0..<250 {
              let path = "/t\(number)/\(random.below(40))"
              if (try? volume.find(path)) != nil, random.below(2) == 0 {
                try volume.remove(path)
              } else {
                let id = try (try? volume.find(path)) ?? volume.makeFile(path)
                let bytes = [UInt8](repeating: UInt8(step & 255), count: 1 + random.below(90_000))
                try volume.writeBytes(id, at: random.below(50) * 4096, bytes)
              }
            }
          } catch {
            failures.withLock { $0.append("\(error)") }
          }
        })
    }
    let loader = BackgroundThread {
      for group in volume.space.groups.all { volume.space.loader.load(group) }
    }
    let committer = BackgroundThread {
      var count = 0
      while !isDone.load(ordering: .relaxed), count < 10_000 {
        try? volume.synchronizeAll()
        count += 1
      }
    }
    for thread in threads { thread.join() }
    loader.join()
    isDone.store(true, ordering: .relaxed)
    committer.join()
    #expect(failures.withLock { $0 } == [])
    try volume.unmount()
    try FreeSpaceTreeJudge.judge(device)
    try CacheJudge.check(device)
  }
}

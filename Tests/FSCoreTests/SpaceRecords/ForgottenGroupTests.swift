import FreeSpace
import TestSupport
import Testing

@testable import FSCore

/// A block group goes: nothing of it is left in the record, whatever the record is, and the record
/// of all others is exact.
@Suite(.timeLimit(.minutes(3))) struct ForgottenGroupTests {
  struct Variant: Sendable, CustomTestStringConvertible {
    var record: VolumeOptions.SpaceCache
    var nodeSize: UInt64 = 16384
    var hasBlockGroupTree = false
    var testDescription: String {
      "\(record), \(nodeSize)\(hasBlockGroupTree ? ", block group tree" : "")"
    }

    func makeImage() throws -> MemoryDevice {
      try TestImage.make(sizeBytes: 3 << 30) { options in
        options.nodeSize = nodeSize
        options.spaceRecord = record == .v2 ? .v2 : .v1
        options.hasBlockGroupTree = hasBlockGroupTree
        if nodeSize == 4096 { options.metadata = .single }
      }
    }
  }

  static let variants = [
    Variant(record: .v1), Variant(record: .v2), Variant(record: .none),
    Variant(record: .v2, nodeSize: 4096), Variant(record: .v2, hasBlockGroupTree: true),
  ]

  /// An image with a data group in which there was much, and is nothing any more.
  private static func makeVolume(
    _ device: any BlockDevice, _ record: VolumeOptions.SpaceCache
  ) throws -> (Volume, BlockGroup) {
    let volume = try Volume.mountForTest(device) { $0.spaceCache = record }
    for name in ["/a", "/b"] {
      let id = try volume.makeFile(name)
      try volume.writeBytes(id, at: 0, [UInt8](repeating: 1, count: 9 << 20))
    }
    try volume.fragment("/fragments", holes: 500)
    try volume.synchronizeAll()
    let id = try volume.makeFile("/kept")
    try volume.writeBytes(id, at: 0, [UInt8](repeating: 2, count: 100_000))
    for name in ["/a", "/b", "/fragments"] { try volume.remove(name) }
    // The caches are still to move, and what was freed is to be had.
    for _ in 0..<3 {
      try volume.writeBytes(id, at: 0, [3])
      try volume.synchronizeAll()
    }
    let group = try #require(
      volume.space.groups.all.last { $0.flags.contains(.data) && $0.isCacheable })
    return (volume, group)
  }

  /// Makes one that is empty, as the caches' and the file's space may be anywhere.
  private static func makeEmptyGroup(_ volume: Volume) throws -> BlockGroup {
    let group = try #require(volume.space.chunks.make(in: volume.space.groups.data))
    let id = try volume.makeFile("/passing")
    try volume.writeBytes(id, at: 0, [UInt8](repeating: 1, count: 100))
    try volume.synchronizeAll()
    return group
  }

  /// What goes with the group, besides what the record has of it.
  private static func remove(_ group: BlockGroup, _ volume: Volume) throws {
    let chunk = try volume.device.chunks.chunk(containing: group.start)
    let record = volume.record
    let key = Key(.devItems, .devItem, 1)
    try volume.transactions.perform(
      reserving: ChunkLifecycle.itemsOfRemoval + record.itemsToForget(group)
    ) { (handle) throws(FilesystemError) in
      try record.forget(group, in: handle)
      handle.noteChange()
      try volume.space.chunks.deleteItems(
        of: chunk, group, trees: volume.trees, deviceKey: key, in: handle)
    }
  }

  /// Nothing on disk knows of the group.
  private static func expectNothing(of group: BlockGroup, _ device: any BlockDevice) throws {
    let reader = try ImageReader(device: device)
    #expect(!reader.chunks.contains { $0.start == group.start })
    try reader.walk(reader.rootOfRootTree) { (key, _) throws(FilesystemError) in
      #expect(key != FreeSpaceHeader.key(of: group.start))
      return true
    }
    guard reader.superblock.readOnlyFeatures.contains(.freeSpaceTree) else { return }
    try reader.walk(reader.root(of: .freeSpace)) { (key, _) throws(FilesystemError) in
      let address = key.objectID.rawValue
      #expect(!(group.start.rawValue..<group.end.rawValue).contains(address), "\(key)")
      return true
    }
  }

  private static func judge(_ record: VolumeOptions.SpaceCache, _ device: MemoryDevice) throws {
    switch record {
    case .v2: try FreeSpaceTreeJudge.judge(device)
    case .v1, .asImage: try CacheJudge.judge(device)
    case .none: try FreeSpaceTreeJudge.expectNoTree(device)
    }
  }

  @Test(arguments: variants, [false, true])
  func nothingIsLeft(variant: Variant, isOld: Bool) throws {
    let device = try variant.makeImage()
    var (volume, group) = try Self.makeVolume(device, variant.record)
    if isOld, group.used > 0 {
      // The caches stand there.
      group = try Self.makeEmptyGroup(volume)
    } else if !isOld {
      group = try Self.makeEmptyGroup(volume)
    }
    if isOld {
      // Its items, or its cache, are those of an earlier mount.
      try volume.unmount()
      volume = try Volume.mountForTest(device)
      group = try volume.space.groups.group(containing: group.start)
    }
    #expect(group.used == 0)
    // Nothing may be allocated there any more.
    volume.space.loader.load(group)
    #expect(group.makeReadOnly { _, _ in true })
    try Self.judge(variant.record, device.copy())

    try Self.remove(group, volume)
    // Too late: it is not listed again, and gets no items.
    volume.record.distrust(group)
    try volume.makeFile("/after")
    try volume.synchronizeAll()
    try Self.expectNothing(of: group, device.copy())
    var work = SpaceWorkload(volume, seed: 1)
    for _ in 0..<30 { try work.step() }
    try volume.synchronizeAll()
    #expect(volume.record.brokenInvariants() == [])
    #expect(!volume.space.groups.dirty.contains { $0 === group })
    try volume.unmount()
    try Self.expectNothing(of: group, device)
    try Self.judge(variant.record, device)
    try CacheJudge.check(device)
  }
}

import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// What becomes of a block group whose free space cannot be found, for now or for good.
@Suite(.timeLimit(.minutes(2))) struct GroupLoadingTests {
  /// An image of one copy, mounted, with nothing of the extent tree in memory.
  private static func make(
    _ record: MakeFilesystem.SpaceRecord
  ) throws -> (device: SimulatedDevice, volume: Volume) {
    let image = try TestImage.make(sizeBytes: 2 << 30) { options in
      options.metadata = .single
      options.spaceRecord = record
    }
    let first = try Volume.mountForTest(image)
    for number in 0..<100 {
      let id = try first.makeFile("/f\(number)")
      try first.writeBytes(id, at: 0, [UInt8](repeating: 1, count: 200_000))
    }
    try first.unmount()
    let device = try SimulatedDevice(image)
    let volume = try Volume.mountForTest(device)
    let reader = try ImageReader(device: image)
    for tree: TreeID in [.extent, .root, .freeSpace] {
      guard let root = try? reader.root(of: tree) else { continue }
      try reader.walkBlocks(root) { (pointer, _) throws(FilesystemError) in
        volume.trees.context.cache.drop(pointer.address)
        return true
      }
    }
    return (device, volume)
  }

  private static func mayLoadNow(_ group: BlockGroup) {
    group.state.withLock { if $0.nextAttempt != nil { $0.nextAttempt = .now } }
  }

  @Test(arguments: MakeFilesystem.SpaceRecord.allCases)
  func aReadThatFailsIsMadeUpFor(record: MakeFilesystem.SpaceRecord) throws {
    let (device, volume) = try Self.make(record)
    let group = try #require(
      volume.space.groups.all.last { $0.used > 0 && $0.loading == .unloaded })
    // Nothing of the record either: the extent tree's root is all that is in memory.
    device.fail(.init([.read]))
    volume.space.loader.load(group)
    if group.loading == .unloaded {
      #expect(volume.brokenInvariants() == [])
      // Not again at once, whoever asks.
      let reads = device.count(.read)
      for _ in 0..<100 { volume.space.loader.load(group) }
      #expect(group.unloadedFree == 0)
      #expect(device.count(.read) == reads)
      device.heal()
      volume.space.loader.load(group)
      #expect(group.loading == .unloaded)
      Self.mayLoadNow(group)
      volume.space.loader.load(group)
    }
    device.heal()
    #expect(group.loading == .loaded)
    #expect(volume.brokenInvariants() == [])
    try volume.makeFile("/more")
    try volume.unmount()
    try CacheJudge.check(device.memory)
  }

  /// Every read fails while space is wanted: operations end, one way or the other, after a few
  /// reads; and when the device is back all goes on.
  @Test(arguments: MakeFilesystem.SpaceRecord.allCases)
  func aDeviceThatFailsForAWhile(record: MakeFilesystem.SpaceRecord) throws {
    let (device, volume) = try Self.make(record)
    let reads = device.count(.read)
    device.fail(.init([.read]))
    for number in 0..<50 { _ = try? volume.makeFile("/during\(number)") }
    #expect(device.count(.read) < reads + 400)
    device.heal()
    #expect(volume.transactions.failure == nil)
    #expect(volume.space.groups.all.allSatisfy { $0.loading != .damaged })
    for group in volume.space.groups.all { Self.mayLoadNow(group) }
    for group in volume.space.groups.all { volume.space.loader.load(group) }
    #expect(volume.space.groups.all.allSatisfy { $0.loading == .loaded })
    let id = try volume.makeFile("/after")
    try volume.writeBytes(id, at: 0, [UInt8](repeating: 1, count: 1 << 20))
    try volume.unmount()
    try CacheJudge.check(device.memory)
  }

  /// A group's item that says another sum than its extents is wrong, and stays so.
  @Test func aWrongSumIsDamaged() throws {
    let image = try TestImage.make { $0.spaceRecord = .v2 }
    let first = try Volume.mountForTest(image)
    let id = try first.makeFile("/f")
    try first.writeBytes(id, at: 0, [UInt8](repeating: 1, count: 200_000))
    try first.unmount()
    let forge = try FieldForge(image)
    let field = try #require(
      forge.fields.first {
        $0.name.contains("BLOCK_GROUP_ITEM") && $0.name.hasSuffix("+ 0x0") && $0.value == 200_704
      })
    let device = try forge.forged([(field, 196_608)])
    let volume = try Volume.mountForTest(device)
    let group = try #require(volume.space.groups.all.first { $0.used == 196_608 })
    volume.space.loader.load(group)
    #expect(group.loading == .damaged)
    volume.space.loader.load(group)
    #expect(group.loading == .damaged && volume.brokenInvariants() == [])
  }

  /// No chunk is made where loading a group would do, whatever a mount begins with.
  @Test(
    arguments: MakeFilesystem.SpaceRecord.allCases,
    [VolumeOptions.SpaceCache.asImage, .v1, .v2, .none])
  func noChunkInPlaceOfALoad(record: MakeFilesystem.SpaceRecord, kind: VolumeOptions.SpaceCache)
    throws
  {
    let image = try TestImage.make(sizeBytes: 4 << 30) { $0.spaceRecord = record }
    for clear in [false, true] {
      let volume = try Volume.mountForTest(image) { options in
        options.spaceCache = kind
        options.clearCache = clear
      }
      try volume.makeFile("/f\(clear)")
      try volume.synchronizeAll()
      let made = volume.space.groups.all.filter { $0.isNew }
      #expect(made.isEmpty, "\(made.map(\.flags))")
      try volume.unmount()
    }
  }
}

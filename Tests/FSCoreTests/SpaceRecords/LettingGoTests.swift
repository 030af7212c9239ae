import FreeSpace
import TestSupport
import Testing

@testable import FSCore

/// Free space in memory keeps to its share, however many block groups there are: it is let go of, and
/// found again in the record, which stays exact meanwhile.
@Suite(.timeLimit(.minutes(5))) struct LettingGoTests {
  private static let groups: UInt64 = 100
  static let records: [VolumeOptions.SpaceCache] = [.v1, .v2, .none]

  private static func mount(
    _ device: any BlockDevice, _ record: VolumeOptions.SpaceCache
  ) throws -> Volume {
    try Volume.mountForTest(device) {
      $0.spaceCache = record
      // A share of 128 KiB: much less than the groups need.
      $0.cacheBytes = 4 << 20
    }
  }

  /// An image of many nearly full data groups, each in many pieces.
  private static func make(
    _ record: VolumeOptions.SpaceCache
  ) throws -> (device: MemoryDevice, file: InodeID) {
    let device = try TestImage.make(sizeBytes: (groups + 8) << 30) {
      $0.spaceRecord = record == .v2 ? .v2 : .v1
    }
    let volume = try mount(device, record)
    let id = try volume.makeFile("/large")
    for group in 0..<groups {
      let start = group << 30
      for piece in 0..<60 as Range<UInt64> {
        try volume.content.allocate(id, .plain, offset: start + piece << 13, length: 4096)
      }
      try volume.content.allocate(
        id, .plain, offset: start + 60 << 13, length: 1 << 30 - 32 << 20)
    }
    try volume.unmount()
    return (device, id)
  }

  private static func judge(_ device: MemoryDevice, _ record: VolumeOptions.SpaceCache) throws {
    switch record {
    case .v1: try CacheJudge.judge(device)
    case .v2: try FreeSpaceTreeJudge.judge(device)
    default: break
    }
  }

  private static func ranges(_ index: FreeSpaceIndex) -> [UInt64] {
    var ranges: [UInt64] = []
    index.forEachRange { ranges += [$0, $1] }
    return ranges
  }

  private static func unload(_ volume: Volume) -> Int {
    volume.space.groups.all.count { $0.loading == .unloaded }
  }

  /// Every group is changed in turn, and many are at once.
  @Test(arguments: records)
  func memoryKeepsToItsShare(record: VolumeOptions.SpaceCache) throws {
    let (device, id) = try Self.make(record)
    let volume = try Self.mount(device, record)
    let memory = volume.space.groups.memory
    var most = 0
    for piece in 0..<4 as Range<UInt64> {
      for group in 0..<Self.groups {
        try volume.content.allocate(
          id, .punchHole, offset: group << 30 + piece << 14, length: 4096)
        if piece > 0 {
          // What was freed before is taken again.
          try volume.content.allocate(
            id, .plain, offset: group << 30 + (piece - 1) << 14, length: 4096)
        }
        if group % 10 == 9 {
          try volume.synchronizeAll()
          most = max(most, memory.share.used)
        }
      }
      #expect(volume.brokenInvariants() == [])
      try Self.judge(device.copy(), record)
    }
    // What the last transactions have used is not let go of.
    #expect(most < memory.share.limit + (64 << 10), "\(most)")
    #expect(memory.lettingGoCount > 20)
    #expect(Self.unload(volume) > 5)

    // All are found again, and right.
    let scan = ExtentTreeScan(extentTree: volume.trees.extent, geometry: volume.geometry)
    for group in volume.space.groups.all {
      volume.space.loader.load(group)
      #expect(group.loading == .loaded)
      let ranges = Self.ranges(try scan.freeSpace(of: group))
      group.state.withLock { #expect(Self.ranges($0.index!) == ranges) }
    }
    #expect(volume.brokenInvariants() == [])
    try volume.unmount()
    try Self.judge(device, record)
    try CacheJudge.check(device)
  }

  /// A group is let go of, freed in, and loaded: from its record, not from the extent tree.
  @Test(arguments: [VolumeOptions.SpaceCache.v1, .v2])
  func theRecordIsReadAgain(record: VolumeOptions.SpaceCache) throws {
    let (device, id) = try Self.make(record)
    let volume = try Self.mount(device, record)
    for group in 0..<Self.groups {
      try volume.content.allocate(id, .punchHole, offset: group << 30, length: 4096)
    }
    // Later commits let go of what the first has changed.
    for number in 0..<20 {
      try volume.makeFile("/f\(number)")
      try volume.synchronizeAll()
    }
    let group = try #require(
      volume.space.groups.all.first {
        $0.flags.contains(.data) && $0.isCacheable && $0.loading == .unloaded && $0.used > 900 << 20
      })
    // Freed while it is not loaded, and not durable.
    for index in 0..<Self.groups {
      try volume.content.allocate(id, .punchHole, offset: index << 30 + 1 << 13, length: 4096)
    }
    switch try volume.record.freeSpace(of: group) {
    case .found(let index):
      #expect(index.freeBytes > 0)
    default: Issue.record("the record does not say what is free in \(group.start)")
    }
    volume.space.loader.load(group)
    #expect(group.loading == .loaded)
    try volume.synchronizeAll()
    #expect(volume.brokenInvariants() == [])
    try volume.unmount()
    try Self.judge(device, record)
  }

  /// Writers, deletions and commits at once, while everything is let go of all the time.
  @Test(arguments: records)
  func besideWriters(record: VolumeOptions.SpaceCache) throws {
    let (device, _) = try Self.make(record)
    let volume = try Self.mount(device, record)
    let failures = Guarded<[String]>([], rank: .leaf)
    let threads = (0..<3).map { number in
      BackgroundThread {
        do {
          let id = try volume.makeFile("/writer\(number)")
          var random = SeededRandom(testSeed: UInt64(number))
          for step in 0..<150 {
            let bytes = [UInt8](repeating: UInt8(step), count: 1 + random.below(200_000))
            try volume.writeBytes(id, at: random.below(64) << 20, bytes)
            if step % 10 == 9 {
              try volume.content.allocate(
                id, .punchHole, offset: random.below(64) << 20, length: 65536)
            }
            if step % 5 == number { try volume.synchronizeAll() }
          }
        } catch {
          failures.withLock { $0.append("\(error)") }
        }
      }
    }
    let loader = BackgroundThread {
      for round in 0..<20 {
        for (number, group) in volume.space.groups.all.enumerated() where (number + round) % 3 == 0
        {
          volume.space.loader.load(group)
        }
        volume.space.reservations.letGoOfFreeSpace()
      }
    }
    for thread in threads { thread.join() }
    loader.join()
    #expect(failures.withLock { $0 } == [])
    try volume.synchronizeAll()
    #expect(volume.brokenInvariants() == [])
    #expect(volume.space.groups.all.allSatisfy { $0.loading != .damaged })
    try volume.unmount()
    try Self.judge(device, record)
    try CacheJudge.check(device)
  }

  /// What is in use, or not in the record, stays.
  @Test func whatIsNeededStays() throws {
    let (device, id) = try Self.make(.v1)
    let volume = try Self.mount(device, .v1)
    let group = try #require(
      volume.space.groups.all.first {
        $0.flags.contains(.data) && $0.isCacheable && $0.used < $0.length - 1 << 20
      })
    volume.space.loader.load(group)
    let change = group.moment.changeCount
    let yes: (SpaceCounters, SpaceCounters) -> Bool = { _, _ in true }
    #expect(!group.letGo(at: change + 1, if: yes))
    #expect(!group.letGo(at: change) { _, _ in false })
    #expect(group.makeReadOnly { _, _ in true })
    #expect(!group.letGo(at: change, if: yes))
    group.makeWritable()

    let taken = try #require(group.allocate(length: 4096, alignment: 4096, hint: nil, from: .none))
    #expect(!group.letGo(at: change, if: yes))
    try group.abandon(taken, 4096)
    #expect(volume.record.changeInRecord(of: group) == change)
    #expect(group.letGo(at: change, if: yes) && group.loading == .unloaded)
    #expect(volume.brokenInvariants() == [])

    // What the record does not say any more is not believed.
    volume.space.loader.load(group)
    volume.caches.distrust(group)
    #expect(volume.record.changeInRecord(of: group) == nil)
    for number in 0..<Self.groups {
      try volume.content.allocate(id, .punchHole, offset: number << 30, length: 4096)
    }
    try volume.unmount()
    try CacheJudge.judge(device)
  }
}

import FreeSpace
import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// Files of free space caches are as long as they need to be.
@Suite(.timeLimit(.minutes(2))) struct ShortCacheTests {
  /// A volume with a large file, and the group of it that has a cache.
  private static func make(
    _ device: any BlockDevice
  ) throws -> (volume: Volume, file: InodeID, group: BlockGroup) {
    let volume = try Volume.mountForTest(device)
    let id = try volume.makeFile("/pieces")
    // More than the small group of a new file system has.
    try volume.writeBytes(
      volume.makeFile("/large"), at: 0, [UInt8](repeating: 1, count: 10 << 20))
    let piece = [UInt8](repeating: 3, count: 4096)
    for number in 0..<4000 as Range<UInt64> {
      try volume.writeBytes(id, at: number * 8192, piece)
    }
    try volume.synchronizeAll()
    let group = try #require(
      volume.space.groups.all.filter { $0.isCacheable && $0.flags.contains(.data) }
        .max { $0.used < $1.used })
    return (volume, id, group)
  }

  /// The file of a group's cache, by the image.
  private static func file(
    of group: BlockGroup, on device: any BlockDevice
  ) throws -> CacheSurvey.Group {
    let reader = try ImageReader(device: device)
    let chunk = try #require(reader.chunks.first { $0.start == group.start })
    return CacheSurvey(reader).survey(chunk, verify: true)
  }

  private static func size(
    of group: BlockGroup, on device: any BlockDevice
  ) throws -> UInt64 {
    let found = try file(of: group, on: device)
    #expect(found.verdict == .valid && found.comparison?.agrees == true)
    return try #require(found.file).extents.items.reduce(0) { $0 + $1.item.length }
  }

  @Test func anUnfragmentedGroupWritesLittle() throws {
    let device = try TestImage.make(sizeBytes: 4 << 30)
    let (volume, _, group) = try Self.make(device)
    for cached in volume.space.groups.all where cached.isCacheable && cached.used > 0 {
      let size = try Self.size(of: cached, on: device.copy())
      #expect(size <= 16 << 10, "the cache of \(cached.start) has \(size) bytes")
    }
    let before = volume.caches.counts
    try volume.writeBytes(volume.makeFile("/more"), at: 0, [UInt8](repeating: 1, count: 1 << 20))
    try volume.synchronizeAll()
    let after = volume.caches.counts
    let files =
      after.writtenEarly + after.writtenInside - before.writtenEarly - before.writtenInside
    let bytes =
      after.bytesWrittenEarly + after.bytesWrittenInside - before.bytesWrittenEarly
      - before.bytesWrittenInside
    #expect(files > 0 && bytes <= UInt64(files) * 16 << 10)
    #expect(volume.caches.isExact(group))
    try volume.unmount()
    try CacheJudge.judge(device)
    try CacheJudge.check(device)
  }

  /// A file grows with what it holds, and shrinks again.
  @Test func aFileFollowsItsGroup() throws {
    let device = try TestImage.make(sizeBytes: 4 << 30)
    let (volume, id, group) = try Self.make(device)
    let first = try Self.size(of: group, on: device.copy())
    for number in 0..<1500 as Range<UInt64> {
      try volume.content.allocate(id, .punchHole, offset: number * 16384, length: 4096)
    }
    try volume.synchronizeAll()
    // The next commit that changes the group knows how fragmented it is.
    try volume.writeBytes(id, at: 0, [1])
    try volume.synchronizeAll()
    let second = try Self.size(of: group, on: device.copy())
    #expect(second > first && second < CacheLayout.byteCount(forGroupLength: group.length))
    try CacheJudge.judge(device.copy())
    try volume.remove("/pieces")
    try volume.synchronizeAll()
    try volume.makeFile("/after")
    try volume.writeBytes(volume.find("/after"), at: 0, [UInt8](repeating: 2, count: 9000))
    try volume.synchronizeAll()
    #expect(try Self.size(of: group, on: device.copy()) == first)
    try volume.unmount()
    try CacheJudge.judge(device)
    try CacheJudge.check(device)
  }

  /// Sets the caches up, then fragments a group within the same transaction.
  private static func outgrow(_ volume: Volume, _ id: InodeID) throws {
    try volume.writeBytes(id, at: 0, [1])
    volume.files.flushAll()
    try volume.transactions.performUnreserved { (handle) throws(FilesystemError) in
      try volume.references.prepare(in: handle)
      try volume.caches.prepare(in: handle)
    }
    for number in 0..<1500 as Range<UInt64> {
      try volume.content.allocate(id, .punchHole, offset: number * 16384, length: 4096)
    }
  }

  /// A group becomes more fragmented than was expected between set-up and write-out: its file is set
  /// up once more, in the same commit.
  @Test(arguments: [false, true]) func anOutgrownFileIsMadeAnew(isEarly: Bool) throws {
    let device = try TestImage.make(sizeBytes: 4 << 30)
    let (volume, id, group) = try Self.make(device)
    if isEarly { volume.caches.hooks.withLock { $0.earlyWriteThreshold = 0 } }
    try Self.outgrow(volume, id)
    #expect(volume.caches.counts.outgrown == 0)
    try volume.synchronizeAll()
    #expect(volume.caches.counts.outgrown == 1)
    #expect(volume.caches.state(of: group) == .written)
    #expect(volume.brokenInvariants() == [])
    let size = try Self.size(of: group, on: device.copy())
    #expect(size == CacheLayout.byteCount(forGroupLength: group.length))
    try CacheJudge.judge(device.copy())
    try CacheJudge.check(device.copy())

    // The next one is as long as needed.
    try volume.writeBytes(id, at: 0, [2])
    try volume.unmount()
    #expect(try Self.size(of: group, on: device) < size)
    try CacheJudge.judge(device)
    try CacheJudge.check(device)
  }

  /// There is no space to do so: the group has no cache after this commit, and has one after the next.
  @Test func anOutgrownFileWithoutSpaceCostsOneCache() throws {
    let device = try TestImage.make(sizeBytes: 4 << 30)
    let (volume, id, group) = try Self.make(device)
    try Self.outgrow(volume, id)
    let victim = group.start
    volume.caches.hooks.withLock { $0.refusesSetup = { $0 == victim } }
    try volume.synchronizeAll()
    #expect(volume.caches.counts.outgrown == 1)
    #expect(volume.caches.state(of: group) == .error)
    #expect(volume.brokenInvariants() == [])
    let all = Set(volume.space.groups.all.map(\.start))
    let findings = try CacheJudge.judge(device.copy(), without: all)
    #expect(!findings.valid.contains(victim))
    try CacheJudge.check(device.copy())

    volume.caches.hooks.withLock { $0 = CacheFilesHooks() }
    try volume.makeFile("/after")
    try volume.synchronizeAll()
    #expect(volume.caches.state(of: group) == .written)
    try volume.unmount()
    try CacheJudge.judge(device)
    try CacheJudge.check(device)
  }

  /// Power cuts while a file is outgrown: what survives is exact.
  @Test func cutsWhileAFileIsOutgrown() throws {
    let base = try TestImage.make(sizeBytes: 4 << 30)
    let device = try SimulatedDevice(base, recording: true)
    let (volume, id, _) = try Self.make(device)
    let start = device.recorded.count
    try Self.outgrow(volume, id)
    try volume.synchronizeAll()
    #expect(volume.caches.counts.outgrown == 1)
    let groups = Set(volume.space.groups.all.map(\.start))
    try volume.unmount()

    var random = SeededRandom(testSeed: 77)
    let recorded = device.recorded
    var (believed, cuts) = (0, 0)
    for cut in stride(from: recorded.count, to: start, by: -max(1, (recorded.count - start) / 40)) {
      let image = try device.image(
        after: cut, of: recorded, density: random.below(101), random: &random)
      believed += try CacheJudge.judge(image, without: groups, "cut \(cut)").valid.count
      if TestSeed.isThorough || cuts % 30 == 17 {
        let mounted = try Volume.mountForTest(image) { $0.readOnly = true }
        let lines = try mounted.stateLines()
        try mounted.unmount()
        try LinuxJudge.judge(image, [lines], "cut \(cut)")
      }
      cuts += 1
    }
    #expect(believed > 10)
  }
}

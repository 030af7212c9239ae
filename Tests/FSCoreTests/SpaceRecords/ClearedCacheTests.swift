import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// Caches of very many groups are made anew by several commits.
@Suite(.timeLimit(.minutes(5))) struct ClearedCacheTests {
  private static let groups: UInt64 = 1100

  private static func make(_ record: MakeFilesystem.SpaceRecord) throws -> MemoryDevice {
    let device = try TestImage.make(sizeBytes: (groups + 8) << 30) { $0.spaceRecord = record }
    let volume = try Volume.mountForTest(device)
    let id = try volume.makeFile("/large")
    for group in 0..<groups {
      try volume.content.allocate(
        id, .keepSize, offset: group << 30, length: 1 << 30 - 8 << 20)
      if group % 256 == 255 { try volume.synchronizeAll() }
    }
    try volume.unmount()
    return device
  }

  @Test(arguments: [MakeFilesystem.SpaceRecord.v1, .v2])
  func inSeveralCommits(record: MakeFilesystem.SpaceRecord) throws {
    let device = try Self.make(record)
    let before = try ImageReader(device: device).superblock.generation
    let volume = try Volume.mountForTest(device) {
      $0.spaceCache = .v1
      $0.clearCache = true
    }
    let counts = volume.caches.outcomes.statistics
    let cacheable = volume.space.groups.all.count(where: \.isCacheable)
    #expect(cacheable > 2 * OldCacheFiles.batchSize)
    #expect(counts.failedCount == 0 && counts.setUp >= cacheable)
    let commits = Int(volume.committer.statistics.whole.count)
    #expect(commits >= 3)
    #expect(!volume.record.wantsMoreCommits)
    // None takes more than a part.
    #expect(Int(counts.setUp) / commits <= 2 * OldCacheFiles.batchSize)
    #expect(volume.brokenInvariants() == [])
    try CacheJudge.judge(device.copy())
    try volume.unmount()
    let after = try ImageReader(device: device).superblock
    #expect(after.cacheGeneration == after.generation.rawValue && after.generation > before)
    try CacheJudge.judge(device)
    try CacheJudge.check(device)
  }

  /// After each of the commits the image is one that the next mount, ours or Linux's, takes: no cache
  /// is believed before all are right.
  @Test func cutShort() throws {
    let device = try SimulatedDevice(Self.make(.v1), recording: true)
    let volume = try Volume.mountForTest(device) { $0.clearCache = true }
    let events = device.recorded
    let flushes = events.indices.filter { events[$0].isFlush }
    var random = SeededRandom(testSeed: 5)
    for flush in flushes {
      let image = try device.image(after: flush, of: events, density: 50, random: &random)
      let reader = try ImageReader(device: image)
      let superblock = reader.superblock
      guard superblock.cacheGeneration == superblock.generation.rawValue else { continue }
      try CacheJudge.judge(image)
    }
    let image = try device.image(
      after: flushes[flushes.count / 2], of: events, density: 50, random: &random)
    try LinuxJudge.judge(image, [volume.stateLines()], mayDisownCaches: true, "half way")
    let again = try Volume.mountForTest(image)
    // A part of the caches of the mount before is disowned by each commit.
    for number in 0..<4 {
      try again.makeFile("/after\(number)")
      try again.synchronizeAll()
    }
    #expect(again.brokenInvariants() == [])
    try again.unmount()
    try CacheJudge.check(image)
    try volume.unmount()
  }
}

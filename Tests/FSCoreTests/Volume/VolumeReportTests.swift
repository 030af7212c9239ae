import Testing

@testable import FSCore

/// The figures that `fsmount stats` shows.
@Suite(.timeLimit(.minutes(1))) struct VolumeReportTests {
  private func change(_ volume: Volume, _ round: Int) throws {
    let id = try volume.makeFile("/file\(round)")
    try volume.writeBytes(id, at: 0, [UInt8](repeating: UInt8(round), count: 1 << 20))
  }

  @Test func commitsAndTheirSteps() throws {
    let volume = try Volume.mountForTest(TestImage.make(sizeBytes: 4 << 30))
    let before = volume.report()
    for round in 0..<5 {
      try change(volume, round)
      try volume.synchronizeAll()
    }
    let after = volume.report()
    #expect(after.generation == before.generation + 5)
    #expect(after.commits.whole.count == before.commits.whole.count + 5)
    #expect(after.commits.failed == 0)
    #expect(after.commits.steps.map(\.step) == CommitStep.allCases)
    // No moment of a commit is left out, and none counts twice.
    let sum = after.commits.steps.reduce(0) { $0 + $1.time.total }
    #expect(sum == after.commits.whole.total)
    let critical = after.commits.steps.filter(\.step.isCritical).reduce(0) { $0 + $1.time.total }
    #expect(critical == after.commits.critical.total && critical > 0)
    for step in after.commits.steps {
      #expect(step.time.count == after.commits.whole.count)
      #expect(step.time.longest <= step.time.total && step.time.last <= step.time.longest)
    }
    #expect(after.commits.lastBlocks > 0 && after.commits.blocks >= 5 * 4)
    try volume.unmount()
  }

  @Test func spaceAndReservationsAddUp() throws {
    let volume = try Volume.mountForTest(TestImage.make(sizeBytes: 4 << 30))
    try change(volume, 1)
    let buffered = volume.report()
    #expect(buffered.dirty.fileBytes >= 1 << 20 && buffered.dirty.pieces > 0)
    #expect(buffered.reservations.data == 1 << 20)
    volume.files.flushAll()
    #expect(volume.report().dirty.blocks > 0)
    try volume.synchronizeAll()
    try volume.remove("/file1")
    // Trees of two levels.
    for number in 0..<400 { try volume.makeFile("/a rather long name, \(number)") }
    try volume.synchronizeAll()
    try volume.makeFile("/one more")
    try volume.synchronizeAll()

    let report = volume.report()
    #expect(report.dirty == .init(blocks: 0, fileBytes: 0, pieces: 0, groups: 0))
    #expect(report.reservations.data == 0 && report.reservations.metadata == 0)
    #expect(report.reservations.overdraftCount == 0)
    #expect(report.reservations.overdrafts.count == MetadataPurpose.allCases.count)
    #expect(report.space.map(\.name) == ["data", "metadata", "system"])
    for members in report.space {
      let parts = [
        members.used, members.free, members.unloaded, members.pinned, members.inFlight,
        members.unusable,
      ]
      #expect(parts.reduce(0, +) == members.length, "\(members)")
    }
    #expect(report.blockCache.hits > 0)
    #expect(report.memory.budget == 64 << 20)
    #expect(report.memory.used <= report.memory.budget)
    try volume.unmount()
  }

  /// Each way in which a cache is not written is counted under its own name.
  @Test func cachesThatAreNotWritten() throws {
    let volume = try Volume.mountForTest(TestImage.make(sizeBytes: 4 << 30))
    func commit(_ round: Int) throws -> RecordStatistics {
      try change(volume, round)
      try volume.synchronizeAll()
      return volume.report().record
    }
    let good = try commit(0)
    #expect(good.kind == "v1" && good.written > 0 && good.setUp > 0 && good.bytes > 0)
    #expect(good.failedCount == 0 && good.skippedCount == 0)

    volume.caches.hooks.withLock { $0.writeFailure = { _ in .noSpace } }
    #expect(try commit(1).failed.map(\.reason) == [CacheObstacle.writing.rawValue])
    volume.caches.hooks.withLock {
      $0 = CacheFilesHooks()
      $0.refusesPages = { _ in true }
    }
    #expect(try commit(2).failed.map(\.reason).contains(CacheObstacle.noMemory.rawValue))
    volume.caches.hooks.withLock {
      $0 = CacheFilesHooks()
      $0.refusesSetup = { _ in true }
    }
    let last = try commit(3)
    #expect(last.failed.map(\.reason).contains(CacheObstacle.noSpace.rawValue))
    volume.caches.hooks.withLock { $0 = CacheFilesHooks() }
    #expect(try commit(4).written > last.written)
    #expect(volume.report().record.failedCount == last.failedCount)
    try volume.unmount()
  }

  @Test func otherRecords() throws {
    for (record, kind) in [(VolumeOptions.SpaceCache.v2, "v2"), (.none, "none")] {
      let volume = try Volume.mountForTest(TestImage.make()) { $0.spaceCache = record }
      try change(volume, 1)
      try volume.synchronizeAll()
      let figures = volume.report().record
      #expect(figures.kind == kind && (figures.written > 0) == (kind == "v2"))
      try volume.unmount()
    }
  }

  /// A mount and an image that is not mounted tell the same.
  @Test(arguments: [false, true]) func usage(isMixed: Bool) throws {
    let device = try TestImage.make(sizeBytes: 1 << 30) { $0.isMixed = isMixed }
    let volume = try Volume.mountForTest(device)
    for round in 0..<3 { try change(volume, round) }
    try volume.synchronizeAll()
    let mounted = try volume.usage()
    let image = try UsageSurvey(try ImageReader(device: device.copy())).usage()
    #expect(mounted.profiles == image.profiles && mounted.devices == image.devices)
    #expect(mounted.overall.used == image.overall.used)
    #expect(mounted.overall.freeEstimated == image.overall.freeEstimated)
    #expect(mounted.overall.globalReserve == image.overall.globalReserve)
    #expect(mounted.overall.deviceSize == 1 << 30 && mounted.overall.freeStatfs != nil)
    #expect(image.overall.freeStatfs == nil)
    let used = mounted.profiles.reduce(0) { $0 + $1.used }
    #expect(used == volume.space.groups.totalUsed)
    try volume.unmount()
  }
}

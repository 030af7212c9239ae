import TestSupport
import Testing

@testable import FSCore

/// Where space runs short, what costs least is tried first, and nothing is done beyond what is needed:
/// write back, make a chunk, commit, give empty chunks back.
@Suite(.timeLimit(.minutes(5))) struct PressureStepsTests {
  /// What was done for want of space since this was made.
  private struct Steps: Equatable, CustomStringConvertible {
    var commits = 0
    var dataChunks = 0
    var metadataChunks = 0

    init() {}
    init(_ volume: Volume) {
      commits = Int(volume.committer.statistics.whole.count)
      dataChunks = volume.space.groups.data.groups.count
      metadataChunks = volume.space.groups.metadata.groups.count
    }

    static func - (a: Steps, b: Steps) -> Steps {
      var steps = Steps()
      steps.commits = a.commits - b.commits
      steps.dataChunks = a.dataChunks - b.dataChunks
      steps.metadataChunks = a.metadataChunks - b.metadataChunks
      return steps
    }

    var description: String {
      "\(commits) commits, \(dataChunks) data and \(metadataChunks) metadata chunks"
    }
  }

  private static func steps(_ volume: Volume, _ body: () throws -> Void) rethrows -> Steps {
    let before = Steps(volume)
    try body()
    return Steps(volume) - before
  }

  private static func fill(_ volume: Volume, _ path: String, _ bytes: UInt64) throws {
    let id = try volume.makeFile(path)
    try volume.content.allocate(id, .plain, offset: 0, length: bytes)
  }

  /// Fills what data chunks have and what no chunk has; returns how many files have their space. One
  /// more is there.
  private static func fillDevice(_ volume: Volume) throws -> Int {
    var count = 0
    while true {
      do {
        try fill(volume, "/large\(count)", 4 << 20)
        count += 1
      } catch FilesystemError.noSpace {
        return count
      }
    }
  }

  /// There is room: nothing is done.
  @Test func roomTakesNoStep() throws {
    let volume = try Volume.mountForTest(try TestImage.make())
    defer { try? volume.unmount() }
    let done = try Self.steps(volume) {
      for number in 0..<200 {
        let id = try volume.makeFile("/file\(number)")
        try volume.writeBytes(id, at: 0, [UInt8](repeating: 1, count: 9000))
      }
    }
    #expect(done == Steps())
  }

  /// What is kept for the items of buffered data stands in the way: they are written back, for which
  /// neither a chunk is made nor a commit.
  @Test func writingBackIsEnough() throws {
    let device = try TestImage.make(sizeBytes: 256 << 20)
    let volume = try Volume.mountForTest(device) { $0.cacheBytes = 512 << 20 }
    defer { try? volume.unmount() }
    // The data chunks are there before.
    try Self.fill(volume, "/space", 60 << 20)
    try volume.remove("/space")
    try volume.synchronizeAll()
    let metadata = volume.space.groups.metadata
    var mostKept: UInt64 = 0
    var written: UInt64 = 0
    let done = try Self.steps(volume) {
      for number in 0..<4_000 {
        let id = try volume.makeFile("/file\(number)")
        try volume.writeBytes(id, at: 0, [UInt8](repeating: 1, count: 5000))
        let kept = metadata.counters.withLock { $0.reservedItems }
        if kept < mostKept { written += 1 }
        mostKept = max(mostKept, kept)
      }
    }
    let cost = volume.space.reservations.itemCost(bytes: 8192, pieces: 1) * 4_000
    let length = metadata.counters.withLock { $0.length }
    print(
      "kept for items: \(mostKept >> 10) KiB at most, \(cost >> 10) for all, of \(length >> 10)")
    #expect(done == Steps(), "\(done)")
    #expect(written > 0, "nothing was written back before the end")
  }

  /// The device has room: chunks are made, and nothing is committed.
  @Test func aChunkIsMadeWithoutACommit() throws {
    let volume = try Volume.mountForTest(try TestImage.make())
    defer { try? volume.unmount() }
    let done = try Self.steps(volume) { try Self.fill(volume, "/large", 100 << 20) }
    #expect(done.commits == 0 && done.metadataChunks == 0, "\(done)")
    // A chunk is a tenth of the device, and no more of them are made than that takes.
    #expect(done.dataChunks == 1, "\(done)")
  }

  /// What a commit frees is enough: one is made, and no chunk goes or comes.
  @Test func oneCommitBringsWhatWasDeleted() throws {
    let volume = try Volume.mountForTest(try TestImage.make(sizeBytes: 300 << 20))
    defer { try? volume.unmount() }
    let count = try Self.fillDevice(volume)
    try volume.synchronizeAll()
    // A part of each chunk stays in use.
    for number in stride(from: 0, to: count, by: 2) { try volume.remove("/large\(number)") }
    let done = try Self.steps(volume) { try Self.fill(volume, "/again", 4 << 20) }
    #expect(done.commits == 1 && done.dataChunks == 0 && done.metadataChunks == 0, "\(done)")
  }

  /// Space is short for tree blocks while data chunks are empty: those are given back, which takes
  /// one commit more than what was freed, and a metadata chunk is made in their place.
  @Test func emptyChunksMakeRoomForOthers() throws {
    let device = try TestImage.make(sizeBytes: 192 << 20) { $0.spaceRecord = .v2 }
    let volume = try Volume.mountForTest(device) { $0.spaceCache = .v2 }
    defer { try? volume.unmount() }
    let count = try Self.fillDevice(volume)
    for number in 0...count { try volume.remove("/large\(number)") }
    try volume.synchronizeAll()
    try #require(volume.space.chunks.allocator.unallocated < 1 << 20)
    let before = Steps(volume)
    var files = 0
    while Steps(volume).metadataChunks == before.metadataChunks, files < 60_000 {
      let id = try volume.makeFile("/small\(files)")
      try volume.writeBytes(id, at: 0, [UInt8](repeating: 1, count: 1500))
      files += 1
    }
    let done = Steps(volume) - before
    print("\(files) files: \(done)")
    #expect(done.metadataChunks == 1 && done.dataChunks < 0, "\(done)")
    #expect(done.commits <= 2, "\(done)")
  }
}

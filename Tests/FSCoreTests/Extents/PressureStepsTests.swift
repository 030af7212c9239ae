import TestSupport
import Testing

@testable import FSCore

/// Where space runs short nothing is done beyond what is needed: a chunk is made where there is room for
/// one, and where there is none one commit brings what was deleted.
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

  /// What buffered data keep for their items is far more than these take: once it is all there is, to
  /// write the data back is enough, though the device has room for a chunk.
  @Test func writingBackIsEnough() throws {
    let device = try TestImage.make(sizeBytes: 512 << 20)
    let volume = try Volume.mountForTest(device) { $0.cacheBytes = 1 << 30 }
    defer { try? volume.unmount() }
    let counters = { volume.space.groups.metadata.counters.withLock { $0 } }
    let free = counters().free
    let each = volume.space.reservations.itemCost(bytes: 4096, pieces: 1)
    let count = 3 * free / each
    let id = try volume.makeFile("/scattered")
    let piece = [UInt8](repeating: 1, count: 4096)
    let done = try Self.steps(volume) {
      for number in 0..<count { try volume.writeBytes(id, at: number * 8192, piece) }
    }
    #expect(count > 1000 && counters().reservedItems < free)
    #expect(done.commits == 0 && done.metadataChunks == 0, "\(done) for \(count) pieces")
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

  /// Metadata run short, and the device has nothing but data chunks, all of them empty once a commit has
  /// freed what was deleted: after that one, another one gives them back, and a chunk is made.
  @Test func emptyChunksMakeRoom() throws {
    let volume = try Volume.mountForTest(try TestImage.make(sizeBytes: 160 << 20))
    defer { try? volume.unmount() }
    let count = try Self.fillDevice(volume)
    try volume.synchronizeAll()
    let before = Steps(volume)
    for number in 0..<count { try volume.remove("/large\(number)") }
    let value = [UInt8](repeating: 1, count: 3000)
    var number = 0
    while (Steps(volume) - before).metadataChunks == 0 {
      let id = try volume.makeFile("/small\(number)")
      try volume.attributes.setAttribute(id, Array("user.a".utf8), value)
      number += 1
      try #require(number < 20_000)
    }
    let done = Steps(volume) - before
    #expect(done.commits == 2 && done.metadataChunks == 1, "\(done)")
    #expect(done.dataChunks < 0, "\(done)")
  }
}

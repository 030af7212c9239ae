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
    let id = try volume.makeFile("/scattered")
    let free = counters().free
    let each = volume.space.reservations.itemCost(bytes: 4096, pieces: 1)
    let count = 3 * free / each
    let piece = [UInt8](repeating: 1, count: 4096)
    let done = try Self.steps(volume) {
      for number in 0..<count { try volume.writeBytes(id, at: number * 8192, piece) }
    }
    #expect(count > 100 && counters().reservedItems < free, "\(count) of \(each), \(free) free")
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

  /// Data have no room, and a commit would bring none: changes of metadata alone, which wait for one, are no
  /// reason to make it.
  @Test func refusedWritesTakeNoStep() throws {
    let volume = try Volume.mountForTest(try TestImage.make(sizeBytes: 160 << 20))
    defer { try? volume.unmount() }
    let refused = try volume.makeFile("/refused")
    _ = try Self.fillDevice(volume)
    let rest = try volume.makeFile("/rest")
    var end: UInt64 = 0
    #expect(throws: FilesystemError.noSpace) {
      while true {
        try volume.content.allocate(rest, .plain, offset: end, length: 64 << 10)
        end += 64 << 10
      }
    }
    try volume.synchronizeAll()
    let bytes = [UInt8](repeating: 1, count: 64 << 10)
    let done = try Self.steps(volume) {
      for number in 0..<50 as Range<Int64> {
        var changes = AttributeChanges()
        changes.mtime = .set(Timestamp(seconds: number, nanoseconds: 0))
        _ = try volume.attributes.setAttributes(refused, changes)
        #expect(throws: FilesystemError.noSpace) {
          try volume.writeBytes(refused, at: 0, bytes)
        }
      }
    }
    #expect(done.commits <= 1 && done.dataChunks <= 0 && done.metadataChunks == 0, "\(done)")
  }

  /// Metadata run short, and the device has nothing but data chunks, all of them empty once what was deleted
  /// is committed. As long as a commit brings plenty it is all that is done. Then one commit, and one that
  /// gives the chunks back, are enough for a chunk.
  @Test func emptyChunksMakeRoom() throws {
    let volume = try Volume.mountForTest(try TestImage.make(sizeBytes: 160 << 20))
    defer { try? volume.unmount() }
    let count = try Self.fillDevice(volume)
    try volume.synchronizeAll()
    for number in 0..<count { try volume.remove("/large\(number)") }
    let value = [UInt8](repeating: 1, count: 3000)
    func makeFile(_ number: Int) throws -> Steps {
      try Self.steps(volume) {
        let id = try volume.makeFile("/small\(number)")
        _ = try volume.attributes.setAttribute(id, Array("user.a".utf8), value)
      }
    }

    var (number, commits) = (0, 0)
    var done = Steps()
    while done.dataChunks == 0 {
      done = try makeFile(number)
      commits += done.commits
      number += 1
      try #require(number < 20_000)
    }
    #expect(done.commits == 2, "\(done)")
    #expect(commits < number / 500, "\(commits) for \(number)")
    while done.metadataChunks == 0 {
      done = try makeFile(number)
      #expect(done.commits == 0 && done.dataChunks == 0, "\(done)")
      number += 1
      try #require(number < 20_000)
    }
  }
}

import TestSupport
import Testing

@testable import FSCore

/// Many threads copy among the same files, in all directions, while others write, truncate and read
/// them, snapshots come and go, and a balance moves what they share.
@Suite(.timeLimit(.minutes(10))) struct CloneThreadTests {
  private static let files = 8
  private static let blocks: UInt64 = 64

  /// Each block of a file holds one byte only, whoever wrote it: a block that is half one thing and
  /// half another, or is what was nowhere written, shows.
  @Test(arguments: [UInt64(471), 472]) func everyDirection(seed: UInt64) throws {
    print("clones by many threads, seed \(TestSeed.of(seed))")
    let device = try TestImage.make(sizeBytes: 2 << 30) { $0.spaceRecord = .v2 }
    let volume = try Volume.mountForTest(device) { $0.cacheBytes = 32 << 20 }
    try volume.makeSubvolume("/v")
    var ids: [InodeID] = []
    for number in 0..<Self.files {
      let id = try volume.makeFile(number % 2 == 0 ? "/f\(number)" : "/v/f\(number)")
      if number >= 6 { try volume.addFlags(id, [.noDataCow, .noDataSum]) }
      ids.append(id)
    }
    let failures = Guarded<[String]>([], rank: .leaf)
    let isOver = Guarded(false, rank: .leaf)
    let all = ids
    let workers = (0..<5).map { number in
      BackgroundThread {
        var random = SeededRandom(testSeed: seed &* 100 &+ UInt64(number))
        for _ in 0..<300 {
          let code = errorNumber { try Self.step(volume, all, &random) }
          if code != 0 { failures.withLock { $0.append("thread \(number): error \(code)") } }
        }
      }
    }
    let others = BackgroundThread {
      var made = 0
      while !isOver.withLock({ $0 }) {
        let code = errorNumber {
          try volume.makeSnapshot(of: "/v", "/s\(made)")
          if made > 1 { try volume.deleteSubvolume("/s\(made - 2)") }
          made += 1
          if made % 3 == 0, volume.balance.status.phase == .none {
            try volume.balanceAll(metadata: nil)
          }
        }
        if code != 0 { failures.withLock { $0.append("snapshots: error \(code)") } }
      }
    }
    for worker in workers { worker.join() }
    isOver.withLock { $0 = true }
    others.join()
    #expect(failures.withLock { $0 } == [])
    #expect(volume.cleaner.wait(seconds: 60))
    for id in ids {
      let bytes = try volume.readBytes(id, at: 0, count: Int(Self.blocks) * 4096)
      for start in stride(from: 0, to: bytes.count, by: 4096) {
        let block = bytes[start..<min(start + 4096, bytes.count)]
        guard block.contains(where: { $0 != block[start] }) else { continue }
        Issue.record("block \(start / 4096) of \(id) is mixed")
        break
      }
    }
    let lines = try volume.stateLines()
    try volume.synchronizeAll()
    #expect(volume.brokenInvariants() == [])
    try volume.unmount()
    let again = try Volume.mountForTest(device)
    #expect(try again.stateLines() == lines)
    try again.unmount()
    try CacheJudge.check(device)
  }

  private static func step(
    _ volume: Volume, _ ids: [InodeID], _ random: inout SeededRandom
  ) throws {
    let (source, target) = (random.pick(ids), random.pick(ids))
    let (from, to) = (random.below(blocks), random.below(blocks))
    let length = 1 + random.below(16 as UInt64)
    switch random.below(8) {
    case 0, 1, 2:
      let byte = UInt8(1 + random.below(255))
      let count = min(length, blocks - to)
      try volume.writeBytes(
        target, at: to * 4096, [UInt8](repeating: byte, count: Int(count) * 4096))
    case 3:
      var changes = AttributeChanges()
      changes.size = to * 4096
      _ = try volume.attributes.setAttributes(target, changes)
    case 4:
      let bytes = try volume.readBytes(source, at: from * 4096, count: 4096)
      guard !bytes.contains(where: { $0 != bytes[0] }) else {
        throw FilesystemError.corrupt("a mixed block was read")
      }
    default:
      let count = min(length, blocks - max(from, to))
      guard count > 0, source != target || from + count <= to || to + count <= from else { return }
      _ = try volume.content.copy(
        source, at: from * 4096, to: target, at: to * 4096, length: count * 4096)
    }
  }
}

import TestSupport
import Testing

@testable import FSCore

/// Many threads copy among the same files, in all directions, while others write, truncate and read
/// them, snapshots come and go, and a balance moves what they share.
@Suite(.timeLimit(.minutes(10))) struct CloneThreadTests {
  private static let files = 8
  private static let blocks: UInt64 = 64

  /// Blocks whose numbers are equal modulo this are copied into each other.
  private static let classes: UInt64 = 16

  /// Each block of a file holds one word only, which says whether the number of the file that it was
  /// written to is odd, and what its own number is modulo 16. Copies keep both. So a block that is half
  /// one thing and half another, that was nowhere written, or that is from the wrong place, shows.
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
      try Self.look(volume, at: 0, count: Self.blocks, of: id, ids)
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
    let (first, second) = (random.below(files), random.below(files))
    let (source, target) = (ids[first], ids[second])
    let (from, to) = (random.below(blocks), random.below(blocks))
    let length = 1 + random.below(16 as UInt64)
    switch random.below(8) {
    case 0, 1, 2:
      let count = min(length, blocks - to)
      var bytes: [UInt8] = []
      for number in to..<(to + count) {
        let word =
          Self.place(second, number) + [
            1, UInt8(random.below(256)), UInt8(random.below(256)), 7, 8, 9,
          ]
        for _ in 0..<512 { bytes += word }
      }
      try volume.writeBytes(target, at: to * 4096, bytes)
    case 3:
      var changes = AttributeChanges()
      changes.size = to * 4096
      _ = try volume.attributes.setAttributes(target, changes)
    case 4:
      try look(volume, at: from, count: length, of: source, ids)
    default:
      let to = to - to % classes + from % classes
      guard first % 2 == second % 2 else { return }
      let count = min(length, blocks - max(from, to))
      guard count > 0, source != target || from + count <= to || to + count <= from else { return }
      _ = try volume.content.copy(
        source, at: from * 4096, to: target, at: to * 4096, length: count * 4096)
      try look(volume, at: to, count: count, of: target, ids)
    }
  }

  /// Throws when a block among these is not what it should be, whoever has written it.
  private static func look(
    _ volume: Volume, at first: UInt64, count: UInt64, of id: InodeID, _ ids: [InodeID]
  ) throws {
    let bytes = try volume.readBytes(id, at: first * 4096, count: Int(count) * 4096)
    for start in stride(from: 0, to: bytes.count, by: 4096) {
      let block = Array(bytes[start..<min(start + 4096, bytes.count)])
      if let fault = Self.fault(block, first + UInt64(start / 4096), of: id, ids) {
        throw FilesystemError.corrupt(fault)
      }
    }
  }

  /// The beginning of each word of a block.
  private static func place(_ file: Int, _ block: UInt64) -> [UInt8] {
    [UInt8(file % 2), UInt8(block % classes)]
  }

  /// What is wrong with a block, whose end the file may cut off; nil where nothing is.
  private static func fault(
    _ bytes: [UInt8], _ block: UInt64, of id: InodeID, _ ids: [InodeID]
  ) -> String? {
    guard bytes.contains(where: { $0 != 0 }), let file = ids.firstIndex(of: id) else { return nil }
    let what = "block \(block) of file \(file)"
    guard bytes.count == 4096 else { return "\(what) has \(bytes.count) bytes" }
    let place = place(file, block)
    if Array(bytes.prefix(2)) != place { return "\(what) is from \(bytes.prefix(2)), not \(place)" }
    let isMixed = (8..<4096).contains { bytes[$0] != bytes[$0 % 8] }
    return isMixed ? "\(what) is mixed" : nil
  }
}

import FreeSpace
import TestSupport
import Testing

@testable import FSCore

/// Many threads take and give space while another commits: no byte is handed out twice, and
/// every cache that a commit vouches for is exact.
@Suite(.timeLimit(.minutes(10))) struct SpaceConcurrencyTests {
  @Test(arguments: [UInt64(1), 2, 3])
  func writersAndCommits(seed: UInt64) throws {
    print("space under threads, seed \(seed)")
    let device = try TestImage.make(sizeBytes: 4 << 30) { options in
      if seed == 2 { options.nodeSize = 4096 }
      if seed == 3 { options.isMixed = true }
    }
    for round in 0..<2 as Range<UInt64> {
      let volume = try Volume.mountForTest(device)
      let start = volume.transactions.committed
      let large = try volume.makeFile("/large\(round)")
      try volume.writeBytes(large, at: 0, [UInt8](repeating: 1, count: 10 << 20))
      let running = Guarded(4, rank: .leaf)
      try onThreads(5) { thread in
        if thread == 4 {
          while running.withLock({ $0 > 0 }) {
            try volume.synchronizeAll()
            if volume.transactions.committed == start { continue }
            let groups = Set(volume.space.groups.all.map(\.start))
            // What has data in flight has no cache; all others are exact.
            try CacheJudge.judge(device.copy(), without: groups)
          }
          return
        }
        defer { running.withLock { $0 -= 1 } }
        var work = SpaceWorkload(volume, seed: seed * 100 + round * 10 + UInt64(thread))
        for _ in 0..<150 { try work.step() }
      }
      #expect(volume.transactions.failure == nil)
      // Workers may still be writing back.
      try volume.synchronizeAll()
      try expectBalanced(volume.space)
      try volume.unmount()
      try CacheJudge.judge(device)
    }
    try CacheJudge.check(device)
  }

  /// Four threads fill a small volume, each until nothing fits, and delete most of what they
  /// made, over and over: no commit fails, and what was accepted is there.
  @Test(arguments: [UInt64(1), 2, 3, 4])
  func manyFillAndEmpty(seed: UInt64) throws {
    print("full under threads, seed \(seed)")
    let device = try TestImage.make(sizeBytes: 160 << 20) { options in
      if seed == 2 { options.nodeSize = 4096 }
      if seed == 3 { options.isMixed = true }
      if seed == 4 { options.nodeSize = 65536 }
    }
    let volume = try Volume.mountForTest(device)
    try onThreads(4) { thread in
      var random = SeededRandom(testSeed: seed * 10 + UInt64(thread))
      for round in 0..<3 {
        var kept: [(path: String, length: Int, byte: UInt8)] = []
        for number in 0..<3000 {
          let path = "/t\(thread)-\(round)-\(number)"
          let length = Int(1 + random.below(random.below(4) == 0 ? 400_000 : 5000))
          let byte = UInt8(truncatingIfNeeded: random.next())
          do {
            let id = try volume.makeFile(path)
            try volume.writeBytes(id, at: 0, [UInt8](repeating: byte, count: length))
            kept.append((path, length, byte))
          } catch FilesystemError.noSpace {
            break
          } catch FilesystemError.corrupt("a short write") {
            break
          }
        }
        for file in kept {
          let id = try volume.find(file.path)
          let bytes = try volume.readBytes(id, at: 0, count: file.length)
          let isRight = bytes.isSame(as: [UInt8](repeating: file.byte, count: file.length))
          #expect(isRight, "\(file.path)")
          try volume.remove(file.path)
        }
      }
    }
    #expect(volume.transactions.failure == nil)
    try volume.synchronizeAll()
    try expectBalanced(volume.space)
    try volume.unmount()
    try CacheJudge.judge(device, without: Set(volume.space.groups.all.map(\.start)))
    try CacheJudge.check(device)
  }

  /// With no thread at work: counters are the sums over the groups, and nothing is in flight.
  private func expectBalanced(_ space: Space) throws {
    for members in [space.groups.data, space.groups.metadata, space.groups.system] {
      let counters = members.counters.withLock { $0 }
      #expect(
        counters.length == counters.used + counters.free + counters.unloaded + counters.pinned
          + counters.inFlight + counters.unusable)
      #expect(counters.used == members.groups.reduce(0) { $0 + $1.used })
      let free = members.groups.reduce(0) { sum, group in
        sum + group.state.withLock { $0.index?.freeBytes ?? 0 }
      }
      #expect(counters.free == free)
      #expect(counters.reservedMetadata == 0)
    }
  }
}

import FreeSpace
import TestSupport
import Testing

@testable import FSCore

/// Many threads take and give space while another commits: no byte is handed out twice, and
/// every cache that a commit vouches for is exact.
@Suite struct SpaceConcurrencyTests {
  @Test(arguments: [UInt64(1), 2, 3])
  func writersAndCommits(seed: UInt64) throws {
    print("space under threads, seed \(seed)")
    let device = try TestImage.make(sizeBytes: 3 << 29) { options in
      if seed == 2 { options.nodeSize = 4096 }
      if seed == 3 { options.isMixed = true }
    }
    for round in 0..<2 as Range<UInt64> {
      let volume = try Volume.mountForTest(device)
      let start = volume.transactions.committed
      let running = Guarded(4, rank: .leaf)
      try onThreads(5) { thread in
        if thread == 4 {
          while running.withLock({ $0 > 0 }) {
            try volume.synchronizeAll()
            if volume.transactions.committed == start { continue }
            let groups = Set(volume.space.groups.map(\.start))
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
      try expectBalanced(volume.space)
      try volume.unmount()
      try CacheJudge.judge(device)
    }
    try CacheJudge.check(device)
  }

  /// With nobody at work: counters are the sums over the groups, and nothing is in flight.
  private func expectBalanced(_ space: SpaceManager) throws {
    for members in [space.data, space.metadata, space.system] {
      let counters = members.counters.withLock { $0 }
      #expect(
        counters.length == counters.used + counters.free + counters.unloaded + counters.pinned
          + counters.inFlight + counters.unusable)
      #expect(counters.used == members.groups.reduce(0) { $0 + $1.used })
      let free = members.groups.reduce(0) { sum, group in
        sum + group.state.withLock { $0.index?.freeBytes ?? 0 }
      }
      #expect(counters.free == free)
      #expect(counters.promised == 0)
    }
  }
}

import CFuse
import FSCore
import Glibc
import Synchronization
import Testing

/// The threads that take requests, with a socket as the device.
///
/// One test only: the state of the listener is the process's.
struct ListenerTests {
  private static let threads = 4
  private static let rounds = 200

  /// None of a round's requests ends before all have been taken: each must find a thread that
  /// listens, though nothing told that the one before it would take long.
  @Test(.timeLimit(.minutes(1))) func noRequestWaitsForAnother() throws {
    var ends: [Int32] = [-1, -1]
    try #require(socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 0, &ends) == 0)
    defer { ends.forEach { close($0) } }

    let device = ends[0]
    let work = Work()
    let workers = (0..<Self.threads).map { _ in
      BackgroundThread { work.serve(device) }
    }
    rounds: for round in 1...Self.rounds {
      let all = round * Self.threads
      for number in (all - Self.threads + 1)...all {
        try Self.sendLookup(to: ends[1])
        // At first one by one, so that none is found waiting behind another.
        let isTaken =
          (round > 20 && number < all)
          || work.waits { $0.taken.load(ordering: .acquiring) == number }
        if !isTaken { break rounds }
      }
      work.mayEnd.store(all, ordering: .releasing)
    }
    work.mayEnd.store(.max, ordering: .releasing)
    shutdown(ends[1], Int32(SHUT_RDWR))
    workers.forEach { $0.join() }

    let taken = work.taken.load(ordering: .acquiring)
    let hasTimedOut = work.hasTimedOut.load(ordering: .acquiring)
    #expect(taken == Self.threads * Self.rounds)
    #expect(!hasTimedOut)
  }

  private static func sendLookup(to socket: Int32) throws {
    var header = fuse_in_header()
    header.opcode = UInt32(FUSE_LOOKUP.rawValue)
    let size = MemoryLayout<fuse_in_header>.size
    header.len = UInt32(size)
    try #require(send(socket, &header, size, 0) == size)
  }

  private final class Work: Sendable {
    let taken = Atomic(0)
    let mayEnd = Atomic(0)
    let hasTimedOut = Atomic(false)

    /// Until the socket is shut down.
    func serve(_ device: Int32) {
      withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { buffer in
        while cfuse_next_request(device, buffer.baseAddress, buffer.count) > 0 {
          let number = taken.add(1, ordering: .acquiringAndReleasing).oldValue
          let end = (number / threads + 1) * threads
          _ = waits { $0.mayEnd.load(ordering: .acquiring) >= end }
        }
      }
    }

    /// False when it takes longer than anything should, here or in another thread.
    func waits(_ condition: (Work) -> Bool) -> Bool {
      let end = ContinuousClock.now + .seconds(30)
      while !condition(self) {
        guard ContinuousClock.now < end, !hasTimedOut.load(ordering: .acquiring) else {
          hasTimedOut.store(true, ordering: .releasing)
          return false
        }
        usleep(50)
      }
      return true
    }
  }
}

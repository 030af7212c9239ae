import CFuse
import FSCore
import Glibc
import Synchronization
import Testing

/// The threads that take requests, with a socket as the device.
///
/// One test at a time: the state of the listener is the process's.
@Suite(.serialized, .timeLimit(.minutes(3))) struct ListenerTests {
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
        try Self.send(FUSE_LOOKUP, to: ends[1])
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

  /// While an fsync is in work another thread listens, and was woken for that when the fsync began:
  /// the first time, and as long as fsyncs keep others waiting. Short ones wake nobody.
  @Test(
    .timeLimit(.minutes(2)),
    .enabled(
      if: sysconf(Int32(_SC_NPROCESSORS_ONLN)) > 1, "SKIPPED: needs two processors"))
  func noRequestWaitsForASlowOne() throws {
    let client = try Client(threads: Self.threads)
    defer { client.end() }

    // A thread that is late on a busy machine looks like a request that takes long, and then all
    // threads listen for a thousand requests: hence several attempts.
    let wasWoken = try (0..<20).contains { _ in
      try client.calm()
      let wakes = try (0..<10).map { _ in try client.wakesForFsyncBesideLookup() }
      return wakes.allSatisfy { $0 == 1 }
    }
    #expect(wasWoken, "no thread was woken when an fsync began")

    let isLeftAlone = try (0..<20).contains { _ in
      try client.calm()
      client.mayEnd.store(.max, ordering: .releasing)
      let wakes = try (0..<40).map { _ in try client.wakesForFsync() }
      client.mayEnd.store(client.slow.load(ordering: .acquiring), ordering: .releasing)
      return wakes.suffix(20).allSatisfy { $0 == 0 }
    }
    #expect(isLeftAlone, "short fsyncs wake threads")

    // Nobody was woken for this one, and it takes long: others are served all the same.
    try client.calm()
    _ = try client.wakesForFsyncBesideLookup()
  }

  /// Sends requests to threads of its own, one after the other.
  private final class Client: Sendable {
    /// How many of the fsyncs may end.
    let mayEnd = Atomic(0)
    /// How many have begun.
    let slow = Atomic(0)
    private let taken = Atomic(0)
    private let ended = Atomic(0)
    private let sent = Atomic(0)
    private let device: Int32
    private let socket: Int32
    private let workers = Guarded<[BackgroundThread]>([], rank: .leaf)

    init(threads: Int) throws {
      var ends: [Int32] = [-1, -1]
      try #require(socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 0, &ends) == 0)
      (device, socket) = (ends[0], ends[1])
      let list = (0..<threads).map { _ in BackgroundThread { [self] in serve() } }
      workers.withLock { $0 = list }
    }

    func end() {
      mayEnd.store(.max, ordering: .releasing)
      shutdown(socket, Int32(SHUT_RDWR))
      workers.withLock { $0 }.forEach { $0.join() }
      close(device)
      close(socket)
    }

    private func serve() {
      withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { buffer in
        while cfuse_next_request(device, buffer.baseAddress, buffer.count) > 0 {
          let header = buffer.load(as: fuse_in_header.self)
          let isSlow = header.opcode == UInt32(FUSE_FSYNC.rawValue)
          let number = isSlow ? slow.add(1, ordering: .acquiringAndReleasing).newValue : 0
          taken.add(1, ordering: .acquiringAndReleasing)
          while mayEnd.load(ordering: .acquiring) < number { usleep(20) }
          cfuse_will_answer(device)
          ended.add(1, ordering: .acquiringAndReleasing)
        }
      }
    }

    private func send(_ operation: fuse_opcode) throws {
      try ListenerTests.send(operation, to: socket)
      sent.add(1, ordering: .relaxed)
    }

    private func wait(for count: borrowing Atomic<Int>, _ wanted: Int) throws {
      let end = ContinuousClock.now + .seconds(30)
      while count.load(ordering: .acquiring) != wanted {
        try #require(ContinuousClock.now < end, "a request is not served")
        usleep(20)
      }
    }

    /// Many requests one by one, so that nothing is left of earlier haste.
    func calm() throws {
      for _ in 0..<1100 {
        try send(FUSE_LOOKUP)
        try wait(for: ended, sent.load(ordering: .relaxed))
      }
    }

    /// How many threads were woken for an fsync that ends when a lookup was served beside it.
    func wakesForFsyncBesideLookup() throws -> UInt64 {
      let before = cfuse_wakes_beside_slow_requests()
      try send(FUSE_FSYNC)
      try wait(for: taken, sent.load(ordering: .relaxed))
      try send(FUSE_LOOKUP)
      let all = sent.load(ordering: .relaxed)
      try wait(for: ended, all - 1)
      // For the fsync to be one that takes long.
      usleep(400)
      mayEnd.store(slow.load(ordering: .acquiring), ordering: .releasing)
      try wait(for: ended, all)
      return cfuse_wakes_beside_slow_requests() - before
    }

    /// Of one that may end at once.
    func wakesForFsync() throws -> UInt64 {
      let before = cfuse_wakes_beside_slow_requests()
      try send(FUSE_FSYNC)
      try wait(for: ended, sent.load(ordering: .relaxed))
      return cfuse_wakes_beside_slow_requests() - before
    }
  }

  private static func send(_ operation: fuse_opcode, to socket: Int32) throws {
    var header = fuse_in_header()
    header.opcode = UInt32(operation.rawValue)
    let size = MemoryLayout<fuse_in_header>.size
    header.len = UInt32(size)
    try #require(Glibc.send(socket, &header, size, 0) == size)
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

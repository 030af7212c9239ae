import CFuse
import FSCore
import Glibc
import Synchronization
import Testing

extension ListenerTests {
  /// The thread that listens goes where the client is, and leaves when it serves what may take long,
  /// or large transfers. What it starts runs anywhere.
  @Test(
    .timeLimit(.minutes(1)),
    .enabled(if: PlacedServer.processors.count > 1, "SKIPPED: needs two processors"))
  func theListenerFollowsItsClient() throws {
    let server = try PlacedServer(threads: 4)
    defer { server.end() }
    cfuse_set_placement_mode(CFUSE_PLACE_LOCAL)
    defer { cfuse_set_placement_mode(CFUSE_PLACE_FREE) }
    let all = PlacedServer.processors
    defer { ThreadProcessors.use(all) }

    for processor in [all[1], all[0], all[1]] {
      ThreadProcessors.use([processor])
      // It looks where the client is once in a millisecond.
      usleep(2_000)
      for _ in 0..<40 { try server.request(FUSE_LOOKUP) }
      // A thread that is late on a busy machine looks like one that others wait for.
      try server.waits { try server.request(FUSE_LOOKUP) == [processor] }
    }

    // A file handle's ioctl: this one starts a thread.
    try server.request(FUSE_IOCTL)
    #expect(server.processorsOfStarted == all)
    try server.waits { try server.request(FUSE_LOOKUP) == [all[1]] }
    #expect(try server.request(FUSE_FSYNC) == all)

    try server.waits { try server.request(FUSE_LOOKUP) == [all[1]] }
    try server.request(FUSE_READ, readSize: 1 << 20)
    #expect(try server.request(FUSE_LOOKUP) == all)
  }

  /// No placement does anything, nor is there any more of it, once it is switched off.
  @Test(
    .timeLimit(.minutes(1)),
    .enabled(if: PlacedServer.processors.count > 1, "SKIPPED: needs two processors"))
  func theListenerIsFreeByItself() throws {
    let server = try PlacedServer(threads: 4)
    defer { server.end() }
    cfuse_set_placement_mode(CFUSE_PLACE_LOCAL)
    for _ in 0..<40 { try server.request(FUSE_LOOKUP) }
    try server.waits { try server.request(FUSE_LOOKUP).count == 1 }
    cfuse_set_placement_mode(CFUSE_PLACE_FREE)
    try server.request(FUSE_LOOKUP)
    #expect(try server.request(FUSE_LOOKUP) == PlacedServer.processors)
  }

  /// A client's release that is ready behind its next request is no second client: one thread goes
  /// on to serve all.
  @Test(.timeLimit(.minutes(1))) func whatAClientLeavesBehindWakesNobody() throws {
    let server = try PlacedServer(threads: 4)
    defer { server.end() }
    // Enough for nothing to be left of earlier haste. A thread that is late on a busy machine looks
    // like a request that takes long, hence several attempts.
    let isServedByOne = try (0..<20).contains { _ in
      for _ in 0..<1_100 { try server.request(FUSE_LOOKUP) }
      let threads = try (0..<50).flatMap { _ in
        try server.threadsServing([FUSE_LOOKUP, FUSE_RELEASE])
      }
      return Set(threads).count == 1
    }
    #expect(isServedByOne)
  }

  /// Threads that say on which processors they may run when they serve a request.
  private final class PlacedServer: Sendable {
    private let device: Int32
    private let socket: Int32
    private let workers = Guarded<[BackgroundThread]>([], rank: .leaf)
    private let served = Guarded<[(processors: [Int32], thread: Int32)]>([], rank: .leaf)
    private let started = Guarded<[Int32]>([], rank: .leaf)

    static let processors = ThreadProcessors.own

    var processorsOfStarted: [Int32] { started.withLock { $0 } }

    init(threads: Int) throws {
      var ends: [Int32] = [-1, -1]
      try #require(socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 0, &ends) == 0)
      (device, socket) = (ends[0], ends[1])
      let list = (0..<threads).map { _ in BackgroundThread { [self] in serve() } }
      workers.withLock { $0 = list }
    }

    func end() {
      shutdown(socket, Int32(SHUT_RDWR))
      workers.withLock { $0 }.forEach { $0.join() }
      close(device)
      close(socket)
    }

    private func serve() {
      withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { buffer in
        while cfuse_next_request(device, buffer.baseAddress, buffer.count) > 0 {
          if buffer.load(as: fuse_in_header.self).opcode == UInt32(FUSE_IOCTL.rawValue) {
            BackgroundThread { [self] in
              let processors = ThreadProcessors.own
              started.withLock { $0 = processors }
            }.join()
          }
          let processors = ThreadProcessors.own
          let thread = ThreadProcessors.threadNumber
          served.withLock { $0.append((processors, thread)) }
          cfuse_will_answer(device)
        }
      }
    }

    /// Sends a request, as the calling thread. On which processors it was served.
    @discardableResult
    func request(_ operation: fuse_opcode, readSize: UInt32 = 4096) throws -> [Int32] {
      let before = served.withLock { $0.count }
      try send(operation, readSize: readSize)
      try waits { served.withLock { $0.count > before } }
      return served.withLock { $0[before].processors }
    }

    /// Sends all at once.
    func threadsServing(_ operations: [fuse_opcode]) throws -> [Int32] {
      let before = served.withLock { $0.count }
      for operation in operations { try send(operation) }
      try waits { served.withLock { $0.count == before + operations.count } }
      return served.withLock { $0[before...].map(\.thread) }
    }

    private func send(_ operation: fuse_opcode, readSize: UInt32 = 4096) throws {
      let headerSize = MemoryLayout<fuse_in_header>.size
      let isRead = operation == FUSE_READ
      let size = headerSize + (isRead ? MemoryLayout<fuse_read_in>.size : 0)
      try withUnsafeTemporaryAllocation(byteCount: size, alignment: 16) { bytes in
        var header = fuse_in_header()
        header.opcode = UInt32(operation.rawValue)
        header.pid = UInt32(ThreadProcessors.threadNumber)
        header.len = UInt32(size)
        bytes.storeBytes(of: header, as: fuse_in_header.self)
        if isRead {
          var body = fuse_read_in()
          body.size = readSize
          bytes.storeBytes(of: body, toByteOffset: headerSize, as: fuse_read_in.self)
        }
        try #require(Glibc.send(socket, bytes.baseAddress, size, 0) == size)
      }
    }

    func waits(_ condition: () throws -> Bool) throws {
      let end = ContinuousClock.now + .seconds(20)
      while try !condition() {
        try #require(ContinuousClock.now < end)
        usleep(20)
      }
    }
  }
}

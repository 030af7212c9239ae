import CFuse
import FSCore
import Glibc
import Logging

/// One mount, from mount(2) to the end of its loop.
///
/// ```
/// init ── mount ── run ── (ended)
///                   when the mount is taken away, or at a signal, which takes it away
/// ```
final class FuseSession {
  private let session: OpaquePointer
  private let server: FuseServer
  private let mountPoint: String
  private let log: Logger
  private var ring = RingChoice.off

  /// - Parameter arguments: libfuse's, the program's name first.
  init(
    server: FuseServer, arguments: [String], mountPoint: String, log: Logger
  ) throws(CommandFailure) {
    self.server = server
    self.mountPoint = mountPoint
    self.log = log
    FuseLog.send(to: log)

    var operations = FuseCallbacks.all()
    var vector: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    defer { for argument in vector { free(argument) } }
    let userData = Unmanaged.passUnretained(server).toOpaque()
    var connectionOptions: OpaquePointer?
    let (session, messages) = FuseLog.keeping {
      cfuse_session_new(
        Int32(arguments.count), &vector, &operations, userData, &connectionOptions)
    }
    guard let session else {
      throw CommandFailure(
        "the mount options are not accepted: \(Self.reason(messages))", status: .usage)
    }
    self.session = session
    server.connectionOptions = connectionOptions
    server.session = session
    server.notices.session = session
  }

  deinit {
    // A notice that does not end still uses the session, which then goes with the process.
    guard server.notices.end() else { return }
    fuse_session_destroy(session)
    free(server.connectionOptions.map { UnsafeMutableRawPointer($0) })
  }

  /// - Parameter threads: as many as serve requests, when the user has said so.
  func mount(_ ring: RingChoice, threads: UInt32?) throws(CommandFailure) {
    try RequestTransport.choose(ring, threads: threads)
    self.ring = ring
    let (status, messages) = FuseLog.keeping { cfuse_session_mount(session, mountPoint) }
    guard status == 0 else {
      throw CommandFailure("nothing was mounted on \(mountPoint): \(Self.reason(messages))")
    }
  }

  /// Serves requests until the mount is taken away, by umount(8) or after a signal to this
  /// process. Returns 0, or a negative errno when it ended for another reason. Throws when requests cannot
  /// come as they must.
  ///
  /// - Parameter onReady: called, on another thread, when the mount serves requests.
  func run(
    threads: UInt32?, cloneDescriptors: Bool, readAheadBytes: Int?,
    onReady: @escaping @Sendable () -> Void
  ) throws(CommandFailure) -> Int32 {
    let first = FirstAnswer()
    first.observe()
    let needsRing = ring == .on
    let starter = BackgroundThread { [mountPoint, server, log] in
      guard first.wait() else { return }
      let transport = RequestTransport.current
      if needsRing, case .device = transport {
        // As at a signal from outside, which takes the mount away.
        kill(getpid(), SIGTERM)
        return
      }
      server.mountDevice()
      if let readAheadBytes { ReadAhead.set(readAheadBytes, of: mountPoint) }
      onReady()
      log.info("requests come over \(StatsReport.text(transport.figures))")
    }
    let stopper = SignalStopper(
      session: session, mountPoint: mountPoint, writes: server.writes, notices: server.notices,
      log: log)
    let processors = UInt32(clamping: sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    let count = threads ?? min(max(16, 4 * processors), 64)
    let status = cfuse_session_loop(session, count, cloneDescriptors ? 1 : 0)
    server.notices.end()
    server.prefetcher.end()
    let transport = RequestTransport.current

    if !stopper.finish() { fuse_session_unmount(session) }
    first.giveUp()
    starter.join()
    if needsRing, case .device(let reason) = transport {
      throw RequestTransport.failure(reason)
    }
    // A positive status is a signal, after which everything was done as after an unmount.
    return min(status, 0)
  }

  /// Undoes `mount` when `run` will not be.
  func unmount() { fuse_session_unmount(session) }

  /// What libfuse said, without its prefix.
  private static func reason(_ messages: [String]) -> String {
    let lines = messages.map { $0.hasPrefix("fuse: ") ? String($0.dropFirst(6)) : $0 }
    return lines.isEmpty ? "fusermount3 refused, see above" : lines.joined(separator: "; ")
  }
}

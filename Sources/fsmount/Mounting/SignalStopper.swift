import CFuse
import FSCore
import Glibc
import Logging
import Synchronization

/// Ends a session at SIGINT, SIGTERM or SIGHUP, on a thread of its own: the mount still serves
/// requests while it is taken away, as writing back what programs have mapped needs it to.
final class SignalStopper: @unchecked Sendable {
  private let session: OpaquePointer
  private let mountPoint: String
  private let writes: WriteActivity
  private let notices: KernelNotices
  private let log: Logger
  private let loopThread = pthread_self()
  private let pipe: (read: Int32, write: Int32)
  private let loopHasEnded = Atomic<Bool>(false)
  private let isUnmounted = Atomic<Bool>(false)
  private var thread: BackgroundThread?

  /// Created on the thread that will run the session's loop.
  init(
    session: OpaquePointer, mountPoint: String, writes: WriteActivity, notices: KernelNotices,
    log: Logger
  ) {
    self.session = session
    self.mountPoint = mountPoint
    self.writes = writes
    self.notices = notices
    self.log = log
    var ends: [Int32] = [-1, -1]
    guard cfuse_pipe(&ends) == 0 else {
      fatalError("pipe: \(String(cString: strerror(errno)))")
    }
    pipe = (ends[0], ends[1])
    // A handler must never wait for the reader.
    _ = fcntl(pipe.write, F_SETFL, O_NONBLOCK)
    cfuse_catch_signals(pipe.write)
    thread = BackgroundThread { [self] in wait() }
  }

  /// Called when the loop has ended; says whether the mount is gone already. Signals do nothing
  /// from now on: what remains to be done is to be done whole.
  func finish() -> Bool {
    loopHasEnded.store(true, ordering: .releasing)
    var byte: UInt8 = 0
    _ = write(pipe.write, &byte, 1)
    thread?.join()
    thread = nil
    return isUnmounted.load(ordering: .acquiring)
  }

  private func wait() {
    var byte: UInt8 = 0
    while read(pipe.read, &byte, 1) != 1 {}
    guard byte != 0 else { return }
    log.info("signal \(byte): unmounting \(mountPoint)")
    stop()
  }

  private func stop() {
    if unmount() {
      isUnmounted.store(true, ordering: .releasing)
      // The kernel ends the loop, unless the mount lives on in another namespace.
      for _ in 0..<200 where !loopHasEnded.load(ordering: .acquiring) { usleep(10_000) }
    } else {
      writes.waitForGap(milliseconds: 200)
      log.warning("\(mountPoint) is still in use; programs that have files open there lose them")
    }

    // A notice that is on its way ends only while requests are served.
    if !loopHasEnded.load(ordering: .acquiring) { notices.end() }
    while !loopHasEnded.load(ordering: .acquiring) {
      // Setting the flag wakes no thread in libfuse before 3.18, hence the signal; again and again,
      // for it may come just before the loop's thread begins to wait.
      fuse_session_exit(session)
      pthread_kill(loopThread, SIGUSR1)
      usleep(10_000)
    }
  }

  /// Never asks the mount anything itself: this process could not end while it waits for its own
  /// answer.
  private func unmount() -> Bool {
    let code = cfuse_unmount_by_child(mountPoint)
    return code == 0 || code == EPERM && Fusermount.unmountByProgram(mountPoint, "-uq")
  }
}

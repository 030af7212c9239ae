import Glibc
import Synchronization

/// An image mounted by the built `fsmount`, its daemon a child of this process.
///
/// A watchdog ends the daemon when `lifetime` has passed, so that a call into a mount that no
/// longer answers fails instead of blocking the tests for ever.
package final class FsmountMount: MountedImage {
  package let image: String
  package let directory: String
  private let daemon: RunningCommand
  private let watchdog: Watchdog
  private var isMounted = true
  /// Another mount may have taken the place by then.
  private var isDetached = false

  package var processID: pid_t { daemon.processID }
  package var messages: String { daemon.outputSoFar }

  /// - Parameters:
  ///   - program: another build than this checkout's.
  ///   - faults: see `DaemonFaults`.
  package init(
    _ image: String, at directory: String, options: String = "", lifetime: Double = 300,
    program: String? = nil, faults: DaemonFaults = []
  ) throws {
    self.image = image
    self.directory = directory
    mkdir(directory, 0o755)
    var arguments = [try program ?? FsmountProgram.required(), "mount", "-f"]
    if program == nil, let transport = MountTransport.chosen {
      arguments += ["-o", transport.option]
    }
    if !options.isEmpty { arguments += ["-o", options] }
    daemon = try RunningCommand(
      arguments + [image, directory], environment: faults.environment())
    watchdog = Watchdog(daemon, seconds: lifetime)
    try waitUntilMounted()
  }

  private func waitUntilMounted() throws {
    let deadline = monotonicSeconds() + 30
    while MountTableEntry.at(directory) == nil {
      if daemon.poll() != nil {
        isMounted = false
        watchdog.cancel()
        throw TestFailure("fsmount ended without mounting: \(daemon.wait(timeout: 1).summary)")
      }
      if monotonicSeconds() > deadline {
        killDaemon()
        throw TestFailure("fsmount has not mounted within 30 s: \(daemon.outputSoFar)")
      }
      usleep(2_000)
    }
    // The mount is in the table before the daemon answers; the first request waits for it.
    var status = stat()
    try check("stat \(directory)") { stat(directory, &status) }
  }

  package func sync() throws {
    try FsmountProgram.run("sync", directory, timeout: 120).orThrow()
  }

  /// Through `fsmount unmount`; the daemon must have ended by itself, well, when that returns.
  package func unmount() throws {
    guard isMounted else { return }
    isMounted = false
    let result = try unmountWhenIdle {
      try FsmountProgram.run("unmount", directory, timeout: 120)
    }
    guard result.succeeded else {
      killDaemon()
      throw TestFailure(result.summary)
    }
    try expectDaemonEnds(within: 2)
  }

  /// Waits for the daemon, which must end with status 0.
  package func expectDaemonEnds(within seconds: Double) throws {
    isMounted = false
    watchdog.cancel()
    let ending = daemon.wait(timeout: seconds)
    detach()
    guard ending.succeeded else { throw TestFailure("the daemon: \(ending.summary)") }
  }

  package func signal(_ number: Int32) { daemon.signal(number) }

  /// What the daemon takes of the machine's memory, and the most that it took.
  package var memory: (nowMebibytes: Int, peakMebibytes: Int) {
    let lines = readText("/proc/\(processID)/status").split(separator: "\n")
    func mebibytes(_ name: String) -> Int {
      let line = lines.first { $0.hasPrefix(name) }
      let number = line?.split(whereSeparator: { !$0.isNumber }).first.flatMap { Int($0) }
      return (number ?? .max) / 1024
    }
    return (mebibytes("VmRSS:"), mebibytes("VmHWM:"))
  }

  /// The crash of the tests: SIGKILL, then the dead mount is taken away.
  package func killDaemon() {
    isMounted = false
    watchdog.cancel()
    daemon.signal(SIGKILL)
    _ = daemon.wait(timeout: 20)
    detach()
  }

  private func detach() {
    if isDetached { return }
    isDetached = true
    while MountTableEntry.at(directory) != nil {
      let command = isRoot ? ["umount", "-l", directory] : ["fusermount3", "-uz", directory]
      guard (try? Shell.run(command))?.succeeded == true else { return }
    }
  }

  deinit {
    if isMounted { try? unmount() }
    watchdog.cancel()
    detach()
  }
}

/// Kills one child process when its time is over.
private final class Watchdog: Sendable {
  private let cancelled = Mutex(false)

  init(_ command: RunningCommand, seconds: Double) {
    let deadline = monotonicSeconds() + seconds
    let job = Job(watchdog: self, processID: command.processID, deadline: deadline)
    var thread = pthread_t()
    let argument = Unmanaged.passRetained(job).toOpaque()
    let code = pthread_create(
      &thread, nil,
      { raw in
        Unmanaged<Job>.fromOpaque(raw!).takeRetainedValue().run()
        return nil
      }, argument)
    if code == 0 { pthread_detach(thread) } else { Unmanaged<Job>.fromOpaque(argument).release() }
  }

  func cancel() { cancelled.withLock { $0 = true } }

  /// Under the lock, so that the process cannot have been waited for and its number reused.
  private func fire(_ processID: pid_t) {
    cancelled.withLock { isCancelled in
      if !isCancelled {
        standardError("watchdog: killing fsmount (process \(processID)), its time is over")
        kill(processID, SIGKILL)
      }
      isCancelled = true
    }
  }

  private final class Job {
    weak var watchdog: Watchdog?
    let processID: pid_t
    let deadline: Double

    init(watchdog: Watchdog, processID: pid_t, deadline: Double) {
      self.watchdog = watchdog
      self.processID = processID
      self.deadline = deadline
    }

    func run() {
      while let watchdog {
        if watchdog.cancelled.withLock({ $0 }) { return }
        if monotonicSeconds() > deadline { return watchdog.fire(processID) }
        usleep(100_000)
      }
    }
  }
}

import Glibc
import Synchronization
import TestSupport
import Testing

extension MountTests {
  /// The process that serves a mount dies of a trap: it must end, and the mount must say so to all
  /// programs, instead of keeping them waiting.
  @Suite(.timeLimit(.minutes(5))) struct DaemonDeathTests {
    private let scratch: Scratch
    private var random = SeededRandom(testSeed: 6)

    init() throws {
      scratch = try Scratch()
      try scratch.make("--size", "256M")
      var none = rlimit()
      setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &none)
    }

    /// Kept while the test runs.
    private func parameter(for transport: MountTransport) throws -> RingParameter? {
      transport == .ring ? try RingParameter(isOn: true) : nil
    }

    /// What is left of a mount answers at once, and can be taken away.
    private func expectDead(_ mountPoint: String) throws {
      guard MountTableEntry.at(mountPoint) != nil else { return }
      // What comes while the kernel takes down rings is told that it was aborted.
      let deadline = monotonicSeconds() + 10
      var answer: CommandResult
      repeat {
        answer = try Shell.run("stat", mountPoint, timeout: 10)
        // A child that the daemon has told to unmount may have done it meanwhile.
        guard MountTableEntry.at(mountPoint) != nil else { return }
        #expect(answer.status == 1, "\(answer.summary)")
      } while ["abort", "canceled"].contains(where: answer.errors.contains)
        && monotonicSeconds() < deadline
      #expect(answer.errors.contains("not connected"), "\(answer.summary)")
      let unmounting = try unmountWhenIdle { try Shell.run("fusermount3", "-u", mountPoint) }
      #expect(MountTableEntry.at(mountPoint) == nil, "\(unmounting.summary)")
    }

    private func takeAway(_ mountPoint: String) {
      guard MountTableEntry.at(mountPoint) != nil else { return }
      _ = try? Shell.run("fusermount3", "-uz", mountPoint)
    }

    @Test(.needsFuse, .timeLimit(.minutes(1)), arguments: MountTransport.available)
    mutating func whileItStarts(transport: MountTransport) throws {
      let parameter = try parameter(for: transport)
      defer { withExtendedLifetime(parameter) { takeAway(scratch.mountPoint) } }
      for _ in 0..<16 {
        let daemon = try RunningCommand([
          FsmountProgram.required(), "mount", "-f", "-o", transport.option, scratch.image,
          scratch.mountPoint,
        ])
        usleep(random.below(60_000))
        daemon.signal(SIGILL)
        let ending = daemon.wait(timeout: 10)
        #expect(ending.status == 128 + SIGILL, "\(ending.summary)")
        try expectDead(scratch.mountPoint)
      }
    }

    /// The process that was started says that it went wrong, or the mount had begun.
    @Test(.needsFuse, .timeLimit(.minutes(1)), arguments: MountTransport.available)
    mutating func whileItStartsInTheBackground(transport: MountTransport) throws {
      let parameter = try parameter(for: transport)
      defer { withExtendedLifetime(parameter) { takeAway(scratch.mountPoint) } }
      for _ in 0..<16 {
        let starter = try RunningCommand([
          FsmountProgram.required(), "mount", "-o", transport.option, scratch.image,
          scratch.mountPoint,
        ])
        usleep(random.below(60_000))
        let children = "/proc/\(starter.processID)/task/\(starter.processID)/children"
        let child = readText(children).split(separator: " ").first.flatMap { pid_t($0) }
        if let child { kill(child, SIGILL) }
        let ending = starter.wait(timeout: 10)
        #expect(ending.status != nil, "\(ending.summary)")
        if ending.status == 0, child == nil {
          try unmountWhenIdle { try FsmountProgram.run("unmount", scratch.mountPoint) }.orThrow()
        } else if let child {
          for _ in 0..<1000 where kill(child, 0) == 0 { usleep(5_000) }
          if ending.status != 0 { #expect(ending.errors.contains("signal"), "\(ending.summary)") }
          try expectDead(scratch.mountPoint)
        }
      }
    }

    /// In the middle of a request, or between two, from the first on.
    @Test(
      .needsFuse, .timeLimit(.minutes(1)), arguments: [false, true], MountTransport.available)
    func atARequest(isAnswered: Bool, transport: MountTransport) throws {
      let parameter = try parameter(for: transport)
      defer { withExtendedLifetime(parameter) { takeAway(scratch.mountPoint) } }
      for number in [1, 2, 3, 4, 5, 7, 10, 20, 40] {
        let faults: DaemonFaults =
          isAnswered ? [.trapAfter(answer: number)] : [.trapBefore(answer: number)]
        let daemon = try RunningCommand(
          [
            FsmountProgram.required(), "mount", "-f", "-o", transport.option, scratch.image,
            scratch.mountPoint,
          ],
          environment: faults.environment())
        // Until the mount answers no more.
        let work = """
          until grep -qF " $1 " /proc/self/mountinfo; do sleep 0.01; done
          while ls -l "$1" && echo text > "$1/file" && cat "$1/file" && rm "$1/file"; do :; done
          """
        let client = try RunningCommand(["sh", "-c", work, "sh", scratch.mountPoint])
        let ending = daemon.wait(timeout: 10)
        #expect(ending.status == 128 + SIGILL, "\(number): \(ending.summary)")
        let end = client.wait(timeout: 10)
        #expect(end.status != nil, "\(number): \(end.summary)")
        try expectDead(scratch.mountPoint)
      }
    }

    /// The process that was started says so, and does not take it for a mount that serves requests.
    @Test(
      .needsFuse, .timeLimit(.minutes(1)), arguments: [false, true], MountTransport.available)
    func atTheFirstRequestInTheBackground(isAnswered: Bool, transport: MountTransport) throws {
      let parameter = try parameter(for: transport)
      defer { withExtendedLifetime(parameter) { takeAway(scratch.mountPoint) } }
      let faults: DaemonFaults = isAnswered ? [.trapAfter(answer: 1)] : [.trapBefore(answer: 1)]
      let starter = try RunningCommand(
        [
          FsmountProgram.required(), "mount", "-o", transport.option, scratch.image,
          scratch.mountPoint,
        ],
        environment: faults.environment())
      let ending = starter.wait(timeout: 10)
      expectRefusal(ending, naming: "ended by signal \(SIGILL)")
      try expectDead(scratch.mountPoint)
    }

    /// With `first`, another signal has told it to unmount.
    @Test(
      .needsFuse, .timeLimit(.minutes(1)), arguments: [nil, SIGTERM], MountTransport.available)
    mutating func underLoad(after first: Int32?, transport: MountTransport) throws {
      let parameter = try parameter(for: transport)
      defer { withExtendedLifetime(parameter) {} }
      for _ in 0..<6 {
        let mounted = try scratch.mount(transport.option)
        defer { mounted.killDaemon() }
        let moment = random.below(150_000 as UInt32)
        let pause = random.below(8_000 as UInt32)
        let root = scratch.root
        let daemon = mounted.processID
        try onThreads(4) { index in
          if index == 0 {
            usleep(moment)
            if let first {
              kill(daemon, first)
              usleep(pause)
            }
            kill(daemon, SIGILL)
            return
          }
          // Until the mount answers no more; that it does so is what is tested.
          let path = root.appending("file \(index)")
          let deadline = monotonicSeconds() + 30
          while true {
            guard monotonicSeconds() < deadline else {
              throw TestFailure("a mount whose daemon was killed still answers")
            }
            do {
              try writeFile(path, [UInt8](repeating: UInt8(index), count: 40_000))
              _ = try readFile(path)
              try check("unlink") { path.withCPath { unlink($0) } }
            } catch {
              break
            }
          }
        }
        try expectDead(scratch.mountPoint)
      }
    }
  }
}

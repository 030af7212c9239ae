import Glibc
import TestSupport
import Testing

extension MountTests {
  /// From the command to the daemon's end.
  @Suite(.timeLimit(.minutes(5))) struct LifeTests {
    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func backgroundMount() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounting = try FsmountProgram.run("mount", scratch.image, scratch.mountPoint)
      defer { Self.detach(scratch.mountPoint) }
      try mounting.orThrow()
      let entry = try #require(MountTableEntry.at(scratch.mountPoint))
      #expect(entry.type == "fuse" || entry.type == "fuse.fsmount")
      #expect(entry.source == scratch.image)
      try scratch.write("file", seed: 1, length: 10_000)
      let daemon = try #require(Self.holder(of: scratch.image), "no process has the image open")
      try unmountWhenIdle { try FsmountProgram.run("unmount", scratch.mountPoint) }.orThrow()
      #expect(!isRunning(daemon), "unmount returns before the daemon has ended")
      #expect(MountTableEntry.at(scratch.mountPoint) == nil)
      try scratch.expectSound()
    }

    /// The form that mount(8) helpers call.
    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func helperForm() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      try FsmountProgram.run(scratch.image, scratch.mountPoint, "-o", "rw,noatime").orThrow()
      defer { Self.detach(scratch.mountPoint) }
      try scratch.write("file", seed: 1, length: 10_000)
      try unmountWhenIdle { try FsmountProgram.run("unmount", scratch.mountPoint) }.orThrow()
      try scratch.expectSound()
    }

    /// A process that has the image open, found through `/proc`.
    private static func holder(of image: String) -> pid_t? {
      for name in (try? directoryNames(BytePath("/proc"))) ?? [] {
        guard let processID = pid_t(String(decoding: name, as: UTF8.self)),
          processID != getpid()
        else { continue }
        let folder = "/proc/\(processID)/fd"
        for entry in (try? directoryNames(BytePath(folder))) ?? [] {
          var buffer = [CChar](repeating: 0, count: 4096)
          let link = "\(folder)/\(String(decoding: entry, as: UTF8.self))"
          let count = readlink(link, &buffer, buffer.count)
          guard count > 0 else { continue }
          if buffer[..<count].map({ UInt8(bitPattern: $0) }) == Array(image.utf8) {
            return processID
          }
        }
      }
      return nil
    }

    private static func detach(_ mountPoint: String) {
      guard MountTableEntry.at(mountPoint) != nil else { return }
      _ = try? Shell.run(
        isRoot ? ["umount", "-l", mountPoint] : ["fusermount3", "-uz", mountPoint])
    }

    @Test(.needsFuse, .timeLimit(.minutes(1)), arguments: [SIGTERM, SIGINT])
    func signalsUnmountCleanly(_ signal: Int32) throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount("commit=300")
      defer { try? mounted.unmount() }
      try scratch.write("file", seed: 1, length: 100_000)
      mounted.signal(signal)
      try mounted.expectDaemonEnds(within: 20)
      try scratch.expectSound()
      let again = try scratch.mount()
      defer { try? again.unmount() }
      #expect(try scratch.holds("file"))
    }

    @Test(.needsRoot, .timeLimit(.minutes(1)))
    func plainUnmount() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount("commit=300")
      defer { try? mounted.unmount() }
      try scratch.write("file", seed: 1, length: 100_000)
      try unmountWhenIdle { try Shell.run("umount", scratch.mountPoint) }.orThrow()
      // The next mount has to wait until the first has written everything.
      let again = try scratch.mount()
      defer { try? again.unmount() }
      #expect(try scratch.holds("file"))
      try again.unmount()
      try mounted.expectDaemonEnds(within: 20)
      try scratch.expectSound()
    }

    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func secondWriterIsRefused() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let other = try scratch.directory.directory("other")
      let result = try FsmountProgram.run("mount", "-f", scratch.image, other, timeout: 30)
      expectRefusal(result, naming: "use", "lock", "mounted", "busy")
      try scratch.write("file", seed: 1, length: 5_000)
      #expect(try scratch.holds("file"))
    }

    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func readOnlyMountRefusesToWrite() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      var mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      try scratch.write("file", seed: 1, length: 100_000)
      try mounted.unmount()
      let before = try scratch.imageDigest()
      mounted = try scratch.mount("ro")
      #expect(try scratch.holds("file"))
      let path = scratch.root.appending("file")
      #expect(outcome { path.withCPath { open($0, O_RDWR) } } == -Int(EROFS))
      #expect(outcome { path.withCPath { unlink($0) } } == -Int(EROFS))
      #expect(outcome { path.withCPath { chmod($0, 0o600) } } == -Int(EROFS))
      try mounted.unmount()
      let after = try scratch.imageDigest()
      #expect(before == after, "a read-only mount has written to the image")
    }

    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func syncCommandCommits() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount("commit=300")
      defer { try? mounted.unmount() }
      try scratch.write("file", seed: 3, length: 500_000)
      try FsmountProgram.run("sync", scratch.mountPoint).orThrow()
      mounted.killDaemon()
      let again = try scratch.mount()
      defer { try? again.unmount() }
      #expect(try scratch.holds("file"))
    }

    /// When there is nothing to write nothing is waited for.
    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func syncWithoutChangesIsQuick() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount("commit=300")
      defer { try? mounted.unmount() }
      try scratch.write("file", seed: 3, length: 5_000)
      let root = open(scratch.mountPoint, O_RDONLY | O_DIRECTORY)
      try #require(root >= 0)
      defer { close(root) }
      let seconds = try (0..<20).map { _ in
        let start = monotonicSeconds()
        // BTRFS_IOC_SYNC, which 'fsmount sync' uses.
        try check("ioctl") { ioctl(root, 0x9408) }
        return monotonicSeconds() - start
      }
      #expect(try #require(seconds.min()) < 0.005, "\(seconds)")
    }

    /// Nobody reads what the daemon says, as with a terminal that is stopped.
    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func aFullPipeOfMessagesStopsNothing() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let program = try FsmountProgram.required()
      let line = "'\(program)' mount -d '\(scratch.image)' '\(scratch.mountPoint)' 2>&1 | sleep 40"
      let shell = try RunningCommand(["sh", "-c", line])
      defer {
        Self.detach(scratch.mountPoint)
        kill(-shell.processID, SIGKILL)
        _ = shell.wait(timeout: 10)
      }
      let deadline = monotonicSeconds() + 20
      while MountTableEntry.at(scratch.mountPoint) == nil, monotonicSeconds() < deadline {
        usleep(5_000)
      }
      // Several times what a pipe holds.
      for number in 0..<1500 {
        let path = scratch.root.appending("\(number)")
        try check("mkdir") { path.withCPath { mkdir($0, 0o755) } }
      }
      #expect(monotonicSeconds() < deadline)
      let ending = try unmountWhenIdle {
        try FsmountProgram.run("unmount", scratch.mountPoint, timeout: 20)
      }
      try ending.orThrow()
      try scratch.expectSound()
    }

    @Test(arguments: ["--version"])
    func version(_ option: String) throws {
      let result = try FsmountProgram.run(option).orThrow()
      #expect(result.output.hasPrefix("fsmount 0."), "\(result.summary)")
      #expect(result.output.contains("libfuse 3."), "\(result.summary)")
    }

    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func commitIntervalCommits() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount("commit=1")
      defer { try? mounted.unmount() }
      try scratch.write("file", seed: 3, length: 500_000)
      sleep(4)
      mounted.killDaemon()
      let again = try scratch.mount()
      defer { try? again.unmount() }
      #expect(try scratch.holds("file"))
    }

    /// What the kernel has in its memory, it must not read from there unnoticed.
    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func strictAccessTimes() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount("strictatime")
      defer { try? mounted.unmount() }
      try scratch.write("file", seed: 3, length: 8192)
      var times = [try scratch.accessTime("file")]
      for _ in 0..<3 {
        #expect(try scratch.holds("file"))
        times.append(try scratch.accessTime("file"))
      }
      #expect(zip(times, times.dropFirst()).allSatisfy { $0 < $1 }, "\(times)")
    }

    @Test(
      .needsFuse, .timeLimit(.minutes(1)),
      arguments: ["no_such_option", "commit=never", "commit=-1", "cache=lots", "space_cache=v7"])
    func wrongOption(_ option: String) throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let result = try FsmountProgram.run(
        "mount", "-f", "-o", option, scratch.image, scratch.mountPoint, timeout: 20)
      let name = option.prefix { $0 != "=" }
      expectRefusal(result, naming: String(name))
      #expect(MountTableEntry.at(scratch.mountPoint) == nil)
    }

    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func missingThings() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let nowhere = scratch.directory.file("nowhere")
      expectRefusal(
        try FsmountProgram.run("mount", "-f", nowhere, scratch.mountPoint), naming: nowhere)
      expectRefusal(
        try FsmountProgram.run("mount", "-f", scratch.image, nowhere), naming: nowhere)
      expectRefusal(try FsmountProgram.run("unmount", scratch.mountPoint), naming: "mount")
      expectRefusal(try FsmountProgram.run("sync", scratch.mountPoint), naming: "mount")
      let file = scratch.directory.file("file")
      try writeFile(BytePath(file), [1])
      expectRefusal(try FsmountProgram.run("mount", "-f", scratch.image, file), naming: file)
    }
  }
}

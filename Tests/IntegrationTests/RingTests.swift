import Glibc
import Synchronization
import TestSupport
import Testing

extension MountTests {
  /// Requests over io_uring: when they come so, what is said when they do not, and that none waits for
  /// another one.
  @Suite(
    .needsFuse, .timeLimit(.minutes(5)),
    .enabled(
      if: RingParameter.canBeSet, "SKIPPED: needs root, and a kernel with FUSE over io_uring"))
  struct RingTests {
    private let scratch: Scratch
    private let parameter: RingParameter

    init() throws {
      parameter = try RingParameter(isOn: true)
      scratch = try Scratch()
      try scratch.make("--size", "512M")
    }

    private func transport() throws -> (line: String, json: String) {
      let text = try FsmountProgram.run("stats", scratch.mountPoint).orThrow().output
      let json = try FsmountProgram.run("stats", "--json", scratch.mountPoint).orThrow().output
      let line = text.split(separator: "\n").first { $0.hasPrefix("requests come over ") }
      return (line.map(String.init) ?? "", json)
    }

    private func expectDevice(because reason: String, _ mounted: FsmountMount) throws {
      let (line, json) = try transport()
      #expect(line.hasPrefix("requests come over /dev/fuse: ") && line.contains(reason), "\(line)")
      #expect(json.contains(#""kind" : "device""#) && json.contains(#""reason" : ""#))
      #expect(mounted.messages.contains(line), "\(mounted.messages)")
      try scratch.write("file", seed: 1, length: 10_000)
      #expect(try scratch.holds("file"))
    }

    private func expectNoMount(because reason: String, faults: DaemonFaults = []) throws {
      for inBackground in [false, true] {
        let result = try Shell.run(
          [FsmountProgram.required(), "mount"] + (inBackground ? [] : ["-f"])
            + ["-o", "io_uring=on", scratch.image, scratch.mountPoint],
          timeout: 20, environment: faults.environment())
        expectRefusal(result, naming: reason)
        #expect(result.errors.contains("io_uring=on"), "\(result.summary)")
        #expect(MountTableEntry.at(scratch.mountPoint) == nil)
      }
    }

    @Test(.timeLimit(.minutes(1)), arguments: ["io_uring=on", "io_uring", "io_uring=auto"])
    func ring(option: String) throws {
      let mounted = try scratch.mount(option)
      defer { try? mounted.unmount() }
      let (line, json) = try transport()
      #expect(line.hasPrefix("requests come over io_uring, "), "\(line)")
      #expect(json.contains(#""kind" : "io_uring""#) && json.contains(#""queues" : "#))
      #expect(mounted.messages.contains("requests come over io_uring"), "\(mounted.messages)")
      try scratch.work(seed: 1, operations: 600)
      let before = try scratch.snapshot()
      try mounted.unmount()

      let again = try scratch.mount("io_uring=off")
      defer { try? again.unmount() }
      try expectDevice(because: "not asked for", again)
      try check("unlink") { scratch.root.appending("file").withCPath { unlink($0) } }
      let difference = before.differences(to: try scratch.snapshot())
      #expect(difference.isEmpty, "\(difference)")
      try again.unmount()
      try scratch.expectSound()
    }

    /// Without the kernel's parameter.
    @Test(.timeLimit(.minutes(1)))
    func disabledForFuse() throws {
      let off = try RingParameter(isOn: false)
      defer { withExtendedLifetime(off) {} }
      try expectNoMount(because: "enable_uring")
      let mounted = try scratch.mount("io_uring=auto")
      defer { try? mounted.unmount() }
      try expectDevice(because: "enable_uring", mounted)
    }

    /// As in a container whose system calls are filtered.
    @Test(.timeLimit(.minutes(1)))
    func disabledForAll() throws {
      let path = BytePath("/proc/sys/kernel/io_uring_disabled")
      let former = readText("\(path)")
      guard !former.isEmpty else { return }
      try writeFile(path, Array("2\n".utf8))
      defer { try? writeFile(path, Array(former.utf8)) }
      try expectNoMount(because: "io_uring_setup")
      let mounted = try scratch.mount("io_uring=auto")
      defer { try? mounted.unmount() }
      try expectDevice(because: "io_uring_setup", mounted)
    }

    /// The kernel refuses an entry when it has the answer to INIT, and goes back to the device.
    @Test(.timeLimit(.minutes(1)))
    func refusedByTheKernel() throws {
      try expectNoMount(because: "refused", faults: [.refusesRings])
      let mounted = try scratch.mount("io_uring=auto", faults: [.refusesRings])
      defer { try? mounted.unmount() }
      try expectDevice(because: "refused", mounted)
    }

    /// Twelve fsyncs wait for the device, all of programs on the processor on which another one looks names up
    /// and reads attributes.
    @Test(.timeLimit(.minutes(1)))
    func othersDoNotWaitForFsyncs() throws {
      let hold = scratch.directory.file("hold")
      let mounted = try scratch.mount(
        "io_uring=on,commit=300", faults: [.holdsFlushes(while: hold)])
      defer { mounted.killDaemon() }
      for number in 0..<12 { try scratch.write("file \(number)", seed: 1, length: 50_000) }
      try writeFile(BytePath(hold), [])
      defer { unlink(hold) }
      let root = scratch.root
      let returned = Atomic(0)

      try onThreads(13) { thread in
        try Linux.stayOnOneProcessor()
        if thread > 0 {
          let file = root.appending("file \(thread - 1)")
          let descriptor = try check("open") { file.withCPath { open($0, O_RDONLY | O_CLOEXEC) } }
          defer { close(descriptor) }
          try check("fsync") { fsync(descriptor) }
          returned.add(1, ordering: .sequentiallyConsistent)
          return
        }
        defer { unlink(hold) }
        let deadline = monotonicSeconds() + 20
        while access(hold + ".held", F_OK) != 0 {
          if monotonicSeconds() > deadline { throw TestFailure("no fsync reaches the device") }
          usleep(1_000)
        }
        // Those that have not come yet.
        usleep(50_000)
        let work =
          "for n in $(seq 200); do test ! -e \"$1/absent $n\" || exit 9; done; ls -l \"$1\""
        try Shell.run(["sh", "-c", work, "sh", "\(root)"], timeout: 20).orThrow()
        guard returned.load(ordering: .sequentiallyConsistent) == 0 else {
          throw TestFailure("an fsync returned while the device was flushing")
        }
      }
      let all = returned.load(ordering: .sequentiallyConsistent)
      #expect(all == 12)
    }

    /// Many ioctls whose answers wait until the kernel has forgotten names, in a directory in which others
    /// make names: who waits for the directory waits for an answer.
    @Test(.timeLimit(.minutes(1)))
    func answersByOtherThreads() throws {
      let mounted = try scratch.mount("io_uring=on")
      defer { try? mounted.unmount() }
      let root = scratch.root
      try onThreads(24) { thread in
        for number in 0..<4 {
          if thread % 2 == 0 {
            let path = "\(root)/volume \(thread) \(number)"
            try FsmountProgram.run("subvolume", "create", path).orThrow()
            guard access(path, F_OK) == 0 else { throw TestFailure("\(path) is not there") }
          } else {
            for part in 0..<50 {
              let file = root.appending("file \(thread) \(number) \(part)")
              try writeFile(file, [1])
              try check("unlink") { file.withCPath { unlink($0) } }
            }
          }
        }
      }
      try mounted.unmount()
      try scratch.expectSound()
    }

    /// What large requests took of the threads' memory is given back.
    @Test(.timeLimit(.minutes(1)))
    func memoryAtRest() throws {
      let mounted = try scratch.mount("io_uring=on,cache=16M")
      defer { try? mounted.unmount() }
      let root = scratch.root
      try onThreads(8) { thread in
        let file = root.appending("large \(thread)")
        try writeFile(file, [UInt8](repeating: UInt8(thread), count: 16 << 20))
        let descriptor = try check("open") { file.withCPath { open($0, O_RDONLY | O_CLOEXEC) } }
        defer { close(descriptor) }
        try check("fsync") { fsync(descriptor) }
        posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
        guard try readFile(file).count == 16 << 20 else { throw TestFailure("\(file) is short") }
      }
      let busy = mounted.memory.peakMebibytes
      let deadline = monotonicSeconds() + 20
      while mounted.memory.nowMebibytes > busy - 4, monotonicSeconds() < deadline {
        usleep(100_000)
      }
      #expect(mounted.memory.nowMebibytes <= busy - 4, "\(busy) MiB")
      #expect(mounted.memory.nowMebibytes < 80)
    }
  }
}

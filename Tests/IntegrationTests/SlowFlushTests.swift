import Glibc
import Synchronization
import TestSupport
import Testing

extension MountTests {
  /// A device that takes its time to make something durable.
  @Suite(.timeLimit(.minutes(2))) struct SlowFlushTests {
    /// While an fsync waits for the device, other requests are served: names that the kernel knows
    /// nothing of, attributes and writes to other files.
    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func othersDoNotWaitForAnFsync() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let hold = scratch.directory.file("hold")
      let mounted = try scratch.mount("commit=300", faults: [.holdsFlushes(while: hold)])
      defer { mounted.killDaemon() }
      try scratch.write("file", seed: 1, length: 100_000)
      try writeFile(BytePath(hold), [])
      let hasReturned = Atomic(false)
      let root = scratch.root

      try onThreads(2) { thread in
        if thread == 0 {
          defer { hasReturned.store(true, ordering: .releasing) }
          let file = root.appending("file")
          let descriptor = try check("open") { file.withCPath { open($0, O_RDONLY | O_CLOEXEC) } }
          defer { close(descriptor) }
          try check("fsync") { fsync(descriptor) }
          return
        }
        defer { unlink(hold) }
        let deadline = monotonicSeconds() + 20
        while access(hold + ".held", F_OK) != 0 {
          if monotonicSeconds() > deadline { throw TestFailure("the fsync reaches no device") }
          usleep(1_000)
        }
        // The shell's, so that it ends when nothing answers.
        let work = """
          for n in $(seq 200); do test ! -e "$1/absent $n" || exit 9; done
          echo text > "$1/other" && cat "$1/other"
          """
        let result = try Shell.run(["sh", "-c", work, "sh", "\(root)"], timeout: 20).orThrow()
        guard result.output == "text\n" else { throw TestFailure(result.summary) }
        guard !hasReturned.load(ordering: .acquiring) else {
          throw TestFailure("the fsync returned while the device was flushing")
        }
      }
      let didReturn = hasReturned.load(ordering: .acquiring)
      #expect(didReturn)
      mounted.killDaemon()
      let again = try scratch.mount()
      defer { try? again.unmount() }
      #expect(try scratch.holds("file"))
    }
  }
}

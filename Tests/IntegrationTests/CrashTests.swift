import Glibc
import TestSupport
import Testing

extension MountTests {
  /// SIGKILL to the daemon: what was committed is there, whole, and the image is sound.
  @Suite(.timeLimit(.minutes(5))) struct CrashTests {
    @Test(.needsFuse, .timeLimit(.minutes(2)), arguments: 1...6 as ClosedRange<UInt64>)
    func keepsTheLastCommit(_ seed: UInt64) throws {
      let scratch = try Scratch()
      try scratch.make("--size", "1G")
      // No commit but those asked for: then the state after the crash is known exactly.
      let mounted = try scratch.mount("commit=300")
      defer { try? mounted.unmount() }
      try scratch.work(seed: seed, operations: 300)
      try mounted.sync()
      let committed = try scratch.snapshot()
      for index in 0..<40 {
        try scratch.write("late-\(index)", seed: seed, length: 100 + index * 3_000)
      }
      mounted.killDaemon()

      try scratch.expectSound()
      let again = try scratch.mount()
      defer { try? again.unmount() }
      // The late files may be there if a commit was due; else nothing has changed.
      let found = try scratch.snapshot()
      let late = try directoryNames(scratch.root).filter { $0.starts(with: "late-".utf8) }
      if late.isEmpty {
        try committed.expectSame(as: found, names: ("committed", "after the crash"))
      }
      try scratch.work(seed: seed + 1, operations: 100)
      try again.unmount()
      try scratch.expectSound()
    }

    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func keepsWhatWasSynced() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "512M")
      let mounted = try scratch.mount("commit=300")
      defer { try? mounted.unmount() }
      for index in 0..<20 {
        try scratch.write("file-\(index)", seed: UInt64(index), length: 50_000)
        try scratch.sync("file-\(index)")
      }
      mounted.killDaemon()
      try scratch.expectSound()
      let again = try scratch.mount()
      defer { try? again.unmount() }
      for index in 0..<20 { #expect(try scratch.holds("file-\(index)")) }
    }

    /// A crash in the middle of everything, commits included, several times on one image.
    @Test(.needsFuse, .timeLimit(.minutes(2)))
    func survivesCrashesAtAnyTime() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "1G")
      for round in 0..<6 {
        let mounted = try scratch.mount("commit=1")
        defer { try? mounted.unmount() }
        let worker = try RunningCommand(["sh", "-c", Self.busyScript, "sh", scratch.mountPoint])
        usleep(useconds_t(700_000 + round * 330_000))
        mounted.killDaemon()
        worker.signal(SIGKILL)
        _ = worker.wait(timeout: 10)
        try ImageCheck.expectSound(scratch.image)
      }
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      _ = try scratch.snapshot()
      try mounted.unmount()
      try scratch.expectSound()
    }

    private static let busyScript = """
      i=0
      while :; do
        mkdir -p "$1/d$((i % 7))" || exit
        head -c $((i * 977 % 90000)) /dev/urandom > "$1/d$((i % 7))/f$((i % 50))"
        mv "$1/d$((i % 7))/f$((i % 50))" "$1/moved$((i % 30))"
        rm -f "$1/moved$(((i + 11) % 30))"
        i=$((i + 1))
      done 2>/dev/null
      """

    /// A file unlinked while open is gone after the crash, with the space it took.
    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func cleansOrphans() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "512M")
      let mounted = try scratch.mount("commit=300")
      defer { try? mounted.unmount() }
      try scratch.write("open", seed: 1, length: 6 << 20)
      let path = scratch.root.appending("open")
      let descriptor = try check("open") { path.withCPath { open($0, O_RDONLY) } }
      try check("unlink") { path.withCPath { unlink($0) } }
      try mounted.sync()
      mounted.killDaemon()
      close(descriptor)
      try scratch.expectSound()
      #expect(try Self.orphans(scratch.image) == 1)

      let again = try scratch.mount()
      defer { try? again.unmount() }
      #expect(try directoryNames(scratch.root).isEmpty)
      try again.unmount()
      try scratch.expectSound()
      #expect(try Self.orphans(scratch.image) == 0)
    }

    private static func orphans(_ image: String) throws -> Int {
      try Shell.run("btrfs", "inspect-internal", "dump-tree", "-t", "5", image).orThrow()
        .output.components(of: "ORPHAN ORPHAN_ITEM")
    }

    @Test(.needsRoot, .timeLimit(.minutes(2)))
    func theKernelMountsWhatACrashLeft() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "1G")
      let mounted = try scratch.mount("commit=300")
      defer { try? mounted.unmount() }
      try scratch.work(seed: 21, operations: 400)
      try mounted.sync()
      let committed = try scratch.snapshot()
      mounted.killDaemon()
      let kernel = try scratch.mountByKernel()
      defer { try? kernel.unmount() }
      try committed.expectSame(as: scratch.snapshot(), names: ("committed", "the kernel's view"))
      try scratch.work(seed: 22, operations: 200)
      try kernel.unmount()
      try kernel.expectCleanLog()
    }
  }
}

extension String {
  /// How often a text occurs.
  func components(of text: String) -> Int {
    var count = 0
    var rest = self[...]
    while let range = rest.firstRange(of: text) {
      count += 1
      rest = rest[range.upperBound...]
    }
    return count
  }
}

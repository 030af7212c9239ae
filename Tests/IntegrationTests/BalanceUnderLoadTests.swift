import Glibc
import Synchronization
import TestSupport
import Testing

extension MountTests {
  /// Balances beside what fills and empties the volume, and balances that Linux brings to an end.
  @Suite(.timeLimit(.minutes(6))) struct BalanceUnderLoadTests {
    /// One thread balances over and over, others fill the volume until nothing fits and empty it, and
    /// one exercises a file. What was accepted is there.
    @Test(.needsFuse, .timeLimit(.minutes(4)), arguments: ["v1", "v2"])
    func besideAVolumeThatFills(record: String) throws {
      let scratch = try Scratch()
      try scratch.make("--size", "512M", "--space-cache", record)
      let mounted = try scratch.mount("commit=1", lifetime: 200)
      defer { try? mounted.unmount() }
      var options = FillWorkload.Options()
      options.writers = 2
      options.largest = 2 << 20
      options.seed = TestSeed.of(record == "v1" ? 300 : 310)
      let work = FillWorkload(directory: scratch.root, options: options)
      try work.begin()
      var single = FsxOptions(seed: TestSeed.of(record == "v1" ? 301 : 311))
      single.operations = 1_000_000
      single.usesMapping = false
      single.mayLackSpace = true
      single.remountInterval = 0
      let isOver = Atomic<Bool>(false)
      let ended = Mutex((done: 0, refused: 0, operations: 0))
      let (root, mountPoint, fsxOptions) = (scratch.root, scratch.mountPoint, single)

      try onThreads(3) { index in
        switch index {
        case 0:
          defer { isOver.store(true, ordering: .relaxed) }
          for round in 0..<3 {
            try work.fill(round: round)
            try work.remove(oneIn: 2, round: round)
          }
        case 1:
          let fsx = try FsxModel(directory: root, options: fsxOptions)
          defer { fsx.closeFile() }
          try fsx.run { isOver.load(ordering: .relaxed) }
          ended.withLock { $0.operations = fsx.number }
        default:
          while !isOver.load(ordering: .relaxed) {
            let result = try FsmountProgram.run(
              ["balance", "start", "-d", "-m", mountPoint], timeout: 120)
            guard result.status != nil, !result.wasKilledBySignal else {
              throw TestFailure(result.summary)
            }
            ended.withLock { if result.succeeded { $0.done += 1 } else { $0.refused += 1 } }
          }
        }
      }
      let counts = ended.withLock { $0 }
      print("balances: \(counts.done) done, \(counts.refused) not; fsx: \(counts.operations)")
      #expect(counts.done > 0 && counts.operations > 100)
      #expect(work.counts.refusals >= 6, "the volume was not full")
      #expect(!mounted.messages.contains("read-only"), "\(mounted.messages)")
      try work.verify()
      try mounted.unmount()
      try scratch.expectSound()
      let again = try scratch.mount("ro")
      defer { try? again.unmount() }
      try work.verify()
      try again.unmount()
    }

    /// fsmount is killed in the midst of a balance, and Linux goes on with it to its end.
    @Test(.needsRoot, .needsFuse, .timeLimit(.minutes(4)), arguments: ["v1", "v2"])
    func linuxGoesOnAfterAKill(record: String) throws {
      let scratch = try Scratch()
      try scratch.make("--size", "4G", "--space-cache", record)
      let mounted = try scratch.mount("commit=1", lifetime: 200)
      defer { mounted.killDaemon() }
      for number in 0..<120 {
        try scratch.write("f\(number)", seed: UInt64(number + 1), length: 6 << 20)
        try scratch.write("s\(number)", seed: UInt64(number + 1), length: 100 + number * 50)
      }
      let tree = try scratch.snapshot()
      try mounted.sync()
      try FsmountProgram.run("balance", "start", "--bg", "-d", "-m", scratch.mountPoint).orThrow()
      // One group has been moved, so the balance has begun for those who mount the image next.
      let deadline = monotonicSeconds() + 60
      while monotonicSeconds() < deadline {
        let status = try FsmountProgram.run("balance", "status", "--json", scratch.mountPoint)
        if status.output.contains(#""done" : "#), !status.output.contains(#""done" : 0"#) { break }
        usleep(1_000)
      }
      mounted.killDaemon()
      let root = try Shell.run(
        "btrfs", "inspect-internal", "dump-tree", "-t", "root", scratch.image
      )
      .orThrow().output
      #expect(root.contains("BALANCE"), "the balance was over before the kill")
      try scratch.expectSound()

      let kernel = try scratch.mountByKernel("noatime")
      defer { try? kernel.unmount() }
      var text = ""
      while monotonicSeconds() < deadline + 60 {
        text = try Shell.run("btrfs", "balance", "status", scratch.mountPoint).output
        if text.contains("No balance found") { break }
        usleep(50_000)
      }
      #expect(text.contains("No balance found"), "\(text)")
      try tree.expectSame(as: scratch.snapshot(), names: ("before the kill", "after Linux"))
      try kernel.unmount()
      try kernel.expectCleanLog()
      try ImageCheck.expectSound(scratch.image)

      // And we find nothing left to do.
      let again = try scratch.mount()
      defer { try? again.unmount() }
      let status = try FsmountProgram.run("balance", "status", scratch.mountPoint)
      #expect(status.output.contains("no balance is running"), "\(status.summary)")
      try tree.expectSame(as: scratch.snapshot(), names: ("before the kill", "with us again"))
      try again.unmount()
      // Linux may leave the cache of a full group empty.
      try ImageCheck.expectSound(scratch.image)
    }
  }
}

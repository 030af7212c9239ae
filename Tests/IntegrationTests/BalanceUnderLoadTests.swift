import Glibc
import TestSupport
import Testing

extension MountTests {
  /// Balances that Linux brings to an end.
  @Suite(.timeLimit(.minutes(6))) struct BalanceUnderLoadTests {
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

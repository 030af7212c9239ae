import Glibc
import TestSupport
import Testing

extension MountTests {
  /// The commands about balances over a real mount. What a balance moves is tried elsewhere.
  @Suite(.timeLimit(.minutes(5))) struct BalanceCommandTests {
    private func balance(_ arguments: String...) throws -> CommandResult {
      try FsmountProgram.run(["balance"] + arguments, timeout: 60)
    }

    @Test(.needsFuse, .timeLimit(.minutes(2))) func fromStartToEnd() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "4G")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      for number in 0..<24 { try scratch.write("f\(number)", seed: 1, length: 7 << 20) }
      try FsmountProgram.run("sync", scratch.mountPoint).orThrow()

      let none = try balance("status", scratch.mountPoint).orThrow()
      #expect(none.output.contains("no balance is running"))
      for command in ["pause", "resume", "cancel"] {
        expectRefusal(try balance(command, scratch.mountPoint), naming: "no balance")
      }

      let done = try balance("start", "-dusage=90", scratch.mountPoint).orThrow()
      #expect(done.output.contains("the balance is done"), "\(done.summary)")
      let json = try balance("status", "--json", scratch.mountPoint).orThrow().output
      #expect(json.contains(#""outcome" : "completed""#) && json.contains(#""phase" : "none""#))
      try balance("start", "--background", "-m", scratch.mountPoint).orThrow()
      let deadline = monotonicSeconds() + 60
      while try balance("status", scratch.mountPoint).status == 1, monotonicSeconds() < deadline {
        usleep(50_000)
      }
      try balance("status", scratch.mountPoint).orThrow()
      for number in 0..<24 { #expect(try scratch.holds("f\(number)")) }
      try mounted.unmount()
      try scratch.expectSound()
    }

    /// A balance is paused, another one is refused by naming it, and it is cancelled.
    @Test(.needsFuse, .timeLimit(.minutes(2))) func pausedAndCancelled() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "4G")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      for number in 0..<90 { try scratch.write("f\(number)", seed: 1, length: 7 << 20) }
      try FsmountProgram.run("sync", scratch.mountPoint).orThrow()
      try balance("start", "--bg", "-d", scratch.mountPoint).orThrow()
      let paused = try balance("pause", scratch.mountPoint)
      // It may have ended by itself before it was asked.
      if try balance("status", scratch.mountPoint).status == 1 {
        #expect(paused.succeeded && paused.output.contains("paused"), "\(paused.summary)")
        let second = try balance("start", "-m", scratch.mountPoint)
        expectRefusal(second, naming: "paused")
        #expect(second.errors.contains("data (all)"), "\(second.summary)")
        let cancelled = try balance("cancel", scratch.mountPoint).orThrow()
        #expect(cancelled.output.contains("cancelled"), "\(cancelled.summary)")
      }
      for number in 0..<90 { #expect(try scratch.holds("f\(number)")) }
      try mounted.unmount()
      try scratch.expectSound()
    }

    @Test(.needsFuse, .timeLimit(.minutes(1))) func refusals() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      expectRefusal(try balance("start", "/proc"), naming: "not in a mount of fsmount")
      for (filter, word) in [
        ("-dusage=101", "percentage"), ("-dcolour=red", "colour"),
        ("-dconvert=raid1", "single or dup"),
        ("-dsoft", "convert"), ("-mlimit=x", "number"),
      ] {
        let result = try balance("start", filter, scratch.mountPoint)
        expectRefusal(result, naming: word)
        #expect(result.status == 1, "\(result.summary)")
      }
      let mounted = try scratch.mount("ro")
      defer { try? mounted.unmount() }
      expectRefusal(try balance("start", "-d", scratch.mountPoint), naming: "read-only")
    }
  }
}

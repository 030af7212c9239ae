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

    /// An image with 630 MiB of data in several block groups, and a mount of which the balance can
    /// be held where it makes something durable: while there is the file `hold`.
    private func makeHeld() throws -> (Scratch, FsmountMount, hold: String) {
      let scratch = try Scratch()
      try scratch.make("--size", "1G")
      let hold = scratch.directory.file("hold")
      let mounted = try scratch.mount("commit=300", faults: [.holdsFlushes(while: hold)])
      for number in 0..<90 { try scratch.write("f\(number)", seed: 1, length: 7 << 20) }
      try mounted.sync()
      return (scratch, mounted, hold)
    }

    private func json(_ scratch: Scratch) throws -> String {
      let result = try balance("status", "--json", scratch.mountPoint)
      guard result.status == 0 || result.status == 1 else { throw TestFailure(result.summary) }
      return result.output
    }

    /// A number or a word of the status.
    private func figure(_ name: String, _ json: String) throws -> String {
      let start = try #require(json.firstRange(of: "\"\(name)\" : "), "\(name) in \(json)")
      return String(json[start.upperBound...].prefix { $0 != "," && $0 != "\n" })
    }

    private func waitUntil(_ what: String, _ isSo: () throws -> Bool) throws {
      let deadline = monotonicSeconds() + 30
      while try !isSo() {
        if monotonicSeconds() > deadline { throw TestFailure("not within 30 s: \(what)") }
        usleep(1_000)
      }
    }

    /// Begins a balance, and returns when it is in its midst, and held there.
    private func startAndHold(_ scratch: Scratch, _ hold: String) throws -> RunningCommand {
      let command = try RunningCommand([
        FsmountProgram.required(), "balance", "start", "-d", scratch.mountPoint,
      ])
      try waitUntil("the balance has counted the groups") {
        let now = try json(scratch)
        return try figure("phase", now) == "\"running\"" && figure("expected", now) != "0"
      }
      try writeFile(BytePath(hold), [])
      try waitUntil("the balance is held") { access(hold + ".held", F_OK) == 0 }
      return command
    }

    private func expectNoBalance(_ scratch: Scratch) throws {
      for number in 0..<90 { #expect(try scratch.holds("f\(number)")) }
      let tree = try Shell.run(
        "btrfs", "inspect-internal", "dump-tree", "-t", "root", scratch.image
      ).orThrow().output
      #expect(!tree.contains("BALANCE"))
    }

    /// A balance is paused in its midst, goes on, and comes to its end.
    @Test(.needsFuse, .timeLimit(.minutes(2))) func pausedAndResumed() throws {
      let (scratch, mounted, hold) = try makeHeld()
      defer { mounted.killDaemon() }
      let start = try startAndHold(scratch, hold)
      let pause = try RunningCommand([
        FsmountProgram.required(), "balance", "pause", scratch.mountPoint,
      ])
      try waitUntil("it is told to pause") {
        try figure("phase", json(scratch)) == "\"stopping\""
      }
      unlink(hold)
      let paused = pause.wait(timeout: 60)
      #expect(paused.succeeded && paused.output.contains("paused"), "\(paused.summary)")
      let interrupted = start.wait(timeout: 60)
      #expect(interrupted.output.contains("paused"), "\(interrupted.summary)")
      let before = try json(scratch)
      #expect(try figure("phase", before) == "\"paused\"", "\(before)")
      let progress = try #require(Double(figure("progress", before)))
      #expect(progress < 1, "\(before)")

      let resumed = try balance("resume", scratch.mountPoint).orThrow()
      #expect(resumed.output.contains("the balance is done"), "\(resumed.summary)")
      let after = try json(scratch)
      #expect(try figure("phase", after) == "\"none\"", "\(after)")
      #expect(try figure("outcome", after) == "\"completed\"", "\(after)")
      #expect(try Double(figure("progress", after)) == 1, "\(after)")
      func number(_ name: String, _ json: String) throws -> Int {
        try #require(Int(figure(name, json)), "\(json)")
      }
      // What was done before the pause counts as well.
      #expect(try number("done", after) > 1 && number("done", after) > number("done", before))
      #expect(try number("bytes_moved", after) > number("bytes_moved", before))
      #expect(try number("bytes_moved", after) <= number("bytes_expected", after))
      expectRefusal(try balance("resume", scratch.mountPoint), naming: "no balance")
      try mounted.sync()
      try expectNoBalance(scratch)
      try mounted.unmount()
      try scratch.expectSound()
    }

    /// A balance is cancelled while it runs; the next mount has none to go on with.
    @Test(.needsFuse, .timeLimit(.minutes(2))) func cancelledWhileItRuns() throws {
      let (scratch, mounted, hold) = try makeHeld()
      defer { mounted.killDaemon() }
      let start = try startAndHold(scratch, hold)
      let cancel = try RunningCommand([
        FsmountProgram.required(), "balance", "cancel", scratch.mountPoint,
      ])
      try waitUntil("it is told to end") {
        try figure("phase", json(scratch)) == "\"stopping\""
      }
      unlink(hold)
      let cancelled = cancel.wait(timeout: 60)
      #expect(
        cancelled.succeeded && cancelled.output.contains("was cancelled"), "\(cancelled.summary)")
      // Who waits for its end is told, too.
      let started = start.wait(timeout: 60)
      #expect(started.succeeded && started.output.contains("was cancelled"), "\(started.summary)")
      let status = try json(scratch)
      #expect(try figure("outcome", status) == "\"cancelled\"", "\(status)")
      #expect(try #require(Double(figure("progress", status))) < 1, "\(status)")
      expectRefusal(try balance("cancel", scratch.mountPoint), naming: "no balance")
      try expectNoBalance(scratch)
      try mounted.unmount()
      try scratch.expectSound()
      let again = try scratch.mount()
      defer { try? again.unmount() }
      let none = try balance("status", scratch.mountPoint).orThrow()
      #expect(none.output.contains("no balance is running"), "\(none.summary)")
      try again.unmount()
    }

    @Test(.needsFuse, .timeLimit(.minutes(1))) func refusals() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      expectRefusal(try balance("start", "/proc"), naming: "not in a mount of fsmount")
      for (filter, word) in [
        ("-dusage=101", "percentage"), ("-dcolour=red", "colour"),
        ("-dconvert=raid1", "single or dup"),
        ("-dsoft", "convert"), ("-mlimit=x", "number"), ("-dvrange=5..5", "empty"),
        ("-s", "--force"),
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

import Glibc
import TestSupport
import Testing

extension MountTests {
  @Suite(.timeLimit(.minutes(5))) struct StatsTests {
    /// A number in JSON by its name: the first one.
    private static func number(_ name: String, in text: String) -> Int? {
      let parts = text.split(separator: "\"\(name)\" : ", maxSplits: 1)
      return parts.count == 2 ? Int(parts[1].prefix { $0.isNumber }) : nil
    }

    private func stats(_ scratch: Scratch) throws -> String {
      try FsmountProgram.run("stats", "--json", scratch.mountPoint).orThrow().output
    }

    @Test(.needsFuse, .timeLimit(.minutes(1)), arguments: ["v1", "v2"])
    func figures(record: String) throws {
      let scratch = try Scratch()
      try scratch.make("--size", "2G", "--space-cache", record)
      let mounted = try scratch.mount("commit=300,cache=64M")
      defer { try? mounted.unmount() }
      let before = try stats(scratch)
      for number in 0..<20 { try scratch.write("f\(number)", seed: 1, length: 300_000) }
      let dirty = try stats(scratch)
      #expect(try #require(Self.number("file_bytes", in: dirty)) > 1_000_000)
      #expect(try #require(Self.number("data", in: dirty)) > 1_000_000, "nothing is reserved")

      try FsmountProgram.run("sync", scratch.mountPoint).orThrow()
      let after = try stats(scratch)
      let generation = try #require(Self.number("generation", in: after))
      #expect(generation == Self.number("generation", in: before).map { $0 + 1 })
      #expect(Self.number("file_bytes", in: after) == 0)
      #expect(try #require(Self.number("last_blocks", in: after)) > 0)
      #expect(
        after.contains(#""operation" : "write""#) && after.contains(#""kind" : "\#(record)""#))
      #expect(after.contains(#""budget" : 67108864"#))
      #expect(!after.contains(#""blocks" : -"#))

      let text = try FsmountProgram.run("stats", scratch.mountPoint).orThrow().output
      for word in [
        "write", "critical section", "flushes", "superblocks", "overdrafts", "none", "pinned",
        "global reserve", "clean tree blocks", "hits", "Free space record: \(record)",
      ] {
        #expect(text.contains(word), "\(word) in:\n\(text)")
      }
      if record == "v1" {
        #expect(try #require(Self.number("written", in: after)) > 0)
        #expect(after.contains(#""failed" : ["#))
      }
      try mounted.unmount()
      try scratch.expectSound()
    }

    /// Goes on until it is interrupted, ends well, and keeps nobody from unmounting.
    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func watching() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let program = try FsmountProgram.required()
      let watch = try RunningCommand([program, "stats", "--watch", scratch.mountPoint])
      defer { watch.signal(SIGKILL) }
      let deadline = monotonicSeconds() + 20
      while watch.outputSoFar.split(separator: "\n").count < 3, monotonicSeconds() < deadline {
        try scratch.write("file", seed: 1, length: 10_000)
        usleep(50_000)
      }
      watch.signal(SIGINT)
      let result = watch.wait(timeout: 10)
      #expect(result.status == 0, "\(result.summary)")
      let lines = result.output.split(separator: "\n")
      #expect(lines.count >= 3 && lines.allSatisfy { $0.contains("requests/s") }, "\(lines)")

      let second = try RunningCommand([program, "stats", "--watch", "--json", scratch.mountPoint])
      defer { second.signal(SIGKILL) }
      while second.outputSoFar.isEmpty, monotonicSeconds() < deadline { usleep(20_000) }
      try mounted.unmount()
      let end = second.wait(timeout: 10)
      #expect(
        end.status == 32 && end.errors.contains("not in a mount of fsmount"), "\(end.summary)")
    }

    @Test(.timeLimit(.minutes(1))) func refusals() throws {
      expectRefusal(try FsmountProgram.run("stats", "/nowhere"), naming: "/nowhere")
      expectRefusal(try FsmountProgram.run("stats", "/proc"), naming: "not in a mount of fsmount")
      expectRefusal(try FsmountProgram.run("usage", "/proc"), naming: "not in a mount of fsmount")
      expectRefusal(try FsmountProgram.run("usage", "/nowhere"), naming: "/nowhere")
      expectRefusal(try FsmountProgram.run("usage", "/etc/passwd"), naming: "superblock")
      expectRefusal(try FsmountProgram.run("map", "/etc/passwd"), naming: "superblock")
    }
  }
}

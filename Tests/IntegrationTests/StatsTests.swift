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

    /// All numbers of a name, wherever they stand.
    private static func numbers(_ name: String, in text: String) -> [Double] {
      text.split(separator: "\"\(name)\"", omittingEmptySubsequences: false).dropFirst()
        .compactMap { part in
          Double(part.drop { $0 == " " || $0 == ":" }.prefix { $0.isNumber || $0 == "." })
        }
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

    /// Requests a second in JSON: their mean since the mount began, and with --watch, from the
    /// second line on, those since the line before.
    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func requestsASecond() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      for number in 0..<4000 {
        let path = scratch.root.appending("absent \(number)")
        var status = stat()
        #expect(path.withCPath { lstat($0, &status) } != 0)
      }
      let text = try stats(scratch)
      let uptime = try #require(Self.numbers("uptime_seconds", in: text).first)
      let mean = try #require(Self.numbers("requests_per_second", in: text).first)
      let each = Self.numbers("per_second", in: text)
      #expect(mean * uptime > 3900, "\(mean) a second in \(uptime) s")
      #expect(each.count > 1 && abs(each.reduce(0, +) - mean) < 2, "\(each), \(mean)")

      let program = try FsmountProgram.required()
      let watch = try RunningCommand([program, "stats", "--watch", "--json", scratch.mountPoint])
      defer { watch.signal(SIGKILL) }
      let deadline = monotonicSeconds() + 20
      while watch.outputSoFar.split(separator: "\n").count < 3, monotonicSeconds() < deadline {
        usleep(50_000)
      }
      watch.signal(SIGINT)
      let output = watch.wait(timeout: 10).output
      let rates = Self.numbers("requests_per_second", in: output)
      #expect(rates.count >= 3, "\(output)")
      // Nobody but the command asks anything now.
      let first = try #require(rates.first)
      #expect(rates.dropFirst().allSatisfy { $0 > 0 && $0 < first / 4 }, "\(rates)")
      try mounted.unmount()
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

import Glibc
import TestSupport
import Testing

extension MountTests {
  /// Block groups in which nothing is left go back to the device by themselves.
  @Suite(.timeLimit(.minutes(3))) struct EmptyGroupTests {
    private static func allocated(_ mountPoint: String) throws -> Int {
      let text = try FsmountProgram.run("usage", "-b", mountPoint).orThrow().output
      let line = try #require(
        text.split(separator: "\n").first { $0.contains("Device allocated:") })
      let number = line.split(whereSeparator: { !$0.isNumber }).last.flatMap { Int($0) }
      return try #require(number)
    }

    /// The commits that a mount makes by itself give them back, while nobody asks for anything.
    @Test(.needsFuse, .timeLimit(.minutes(2)), arguments: ["v1", "v2"])
    func emptyGroupsGoByThemselves(record: String) throws {
      let scratch = try Scratch()
      try scratch.make("--size", "2G", "--space-cache", record)
      let mounted = try scratch.mount("commit=1")
      defer { try? mounted.unmount() }
      let before = try Self.allocated(scratch.mountPoint)
      try scratch.write("kept", seed: 1, length: 1 << 20)
      for number in 0..<6 {
        let path = scratch.root.appending("large\(number)")
        let file = try check("create") { path.withCPath { open($0, O_CREAT | O_RDWR, 0o644) } }
        defer { close(file) }
        try check("fallocate") { Linux.fallocate(file, 0, 0, 200 << 20) }
      }
      try mounted.sync()
      let full = try Self.allocated(scratch.mountPoint)
      #expect(full > before + 1000 << 20)
      for number in 0..<6 {
        try check("unlink") {
          scratch.root.appending("large\(number)").withCPath { unlink($0) }
        }
      }

      // Some groups have files of the record in them, which move first.
      let most = before + 220 << 20
      let deadline = monotonicSeconds() + 60
      var now = full
      while now > most, monotonicSeconds() < deadline {
        usleep(200_000)
        now = try Self.allocated(scratch.mountPoint)
      }
      #expect(now <= most, "\(before) bytes were allocated at first, then \(full), now \(now)")
      #expect(try scratch.holds("kept"))
      try mounted.unmount()
      try scratch.expectSound()
      #expect(try Self.allocated(scratch.image) == now)
    }
  }
}

import Glibc
import TestSupport
import Testing

extension MountTests {
  /// The image file takes no more of the disk than its content, after a trim.
  @Suite(.timeLimit(.minutes(2))) struct TrimTests {
    private static func blocks(_ path: String) throws -> Int {
      var status = stat()
      guard stat(path, &status) == 0 else { throw TestFailure("\(path): errno \(errno)") }
      return Int(status.st_blocks)
    }

    @Test(.needsFuse, arguments: ["v1", "v2"])
    func theFileBecomesSmall(record: String) throws {
      let scratch = try Scratch()
      try scratch.make("--size", "1G", "--space-cache", record)
      let mounted = try scratch.mount("commit=300")
      defer { try? mounted.unmount() }
      try scratch.write("kept", seed: 1, length: 3 << 20)
      try scratch.write("gone", seed: 2, length: 60 << 20)
      try FsmountProgram.run("sync", scratch.mountPoint).orThrow()
      let full = try Self.blocks(scratch.image)
      #expect(full > 60 << 11)
      try Shell.run("rm", scratch.mountPoint + "/gone").orThrow()
      let result = try FsmountProgram.run("trim", scratch.mountPoint).orThrow()
      #expect(result.output.contains("trimmed"))
      #expect(try Self.blocks(scratch.image) < full - 55 << 11)

      // The tool that everybody has asks for the same.
      try scratch.write("gone", seed: 3, length: 20 << 20)
      try Shell.run("rm", scratch.mountPoint + "/gone").orThrow()
      try Shell.run("fstrim", scratch.mountPoint).orThrow()
      #expect(try Self.blocks(scratch.image) < 20 << 11)
      try mounted.unmount()
      try scratch.expectSound()
    }

    @Test(.needsFuse) func refusals() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let elsewhere = try FsmountProgram.run("trim", "/proc")
      #expect(elsewhere.status != 0 && elsewhere.summary.contains("not in a mount"))
      let mounted = try scratch.mount("ro")
      defer { try? mounted.unmount() }
      let readOnly = try FsmountProgram.run("trim", scratch.mountPoint)
      #expect(readOnly.status != 0)
    }

    /// Where the backing file system cannot free single ranges, a trim says so, and `discard` does
    /// without.
    @Test(.needsRoot, .needsFuse, .enabled(if: Shell.find("mkntfs") != nil)) func noHoles() throws {
      let backing = try TemporaryDirectory(inMemory: true)
      let disk = backing.file("disk")
      try Shell.run("truncate", "-s", "600M", disk).orThrow()
      try Shell.run("mkntfs", "-q", "-F", disk).orThrow()
      let place = try backing.directory("place")
      try Shell.run("ntfs-3g", disk, place).orThrow()
      defer { _ = try? Shell.run("umount", place) }
      let scratch = try Scratch(image: place + "/image")
      try scratch.make("--size", "256M")
      for options in ["", "discard"] {
        let mounted = try scratch.mount(options)
        defer { try? mounted.unmount() }
        try scratch.write("gone", seed: 1, length: 20 << 20)
        try Shell.run("rm", scratch.mountPoint + "/gone").orThrow()
        let result = try FsmountProgram.run("trim", scratch.mountPoint)
        #expect(
          result.status != 0 && result.summary.contains("single ranges cannot be freed"),
          "\(result.summary)")
        try mounted.unmount()
      }
      try scratch.expectSound()
    }
  }
}

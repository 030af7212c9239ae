import Glibc
import TestSupport
import Testing

extension MountTests {
  /// `fsmount resize` over a real mount.
  @Suite(.timeLimit(.minutes(5))) struct ResizeCommandTests {
    private static func length(_ path: String) -> Int {
      var status = stat()
      return stat(path, &status) == 0 ? Int(status.st_size) : -1
    }

    private func resize(_ size: String, _ scratch: Scratch) throws -> CommandResult {
      try FsmountProgram.run("resize", size, scratch.mountPoint, timeout: 100)
    }

    @Test(.needsFuse, .timeLimit(.minutes(3))) func upAndDown() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "2G")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      for number in 0..<30 { try scratch.write("f\(number)", seed: 1, length: 7 << 20) }

      for (size, length) in [
        ("+1G", 3 << 30), ("-512M", 5 << 29), ("1G", 1 << 30), ("max", 1 << 30),
      ] {
        let result = try resize(size, scratch).orThrow()
        #expect(result.output.contains("\(length) bytes"), "\(size): \(result.summary)")
        #expect(Self.length(scratch.image) == length, "\(size)")
      }
      let usage = try FsmountProgram.run("usage", "-b", scratch.mountPoint).orThrow().output
      #expect(usage.contains("\(1 << 30)"))
      for number in 0..<30 { #expect(try scratch.holds("f\(number)")) }
      try mounted.unmount()
      try scratch.expectSound()
    }

    @Test(.needsFuse, .timeLimit(.minutes(2))) func refusals() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "1G")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      for number in 0..<60 { try scratch.write("f\(number)", seed: 1, length: 7 << 20) }
      try FsmountProgram.run("sync", scratch.mountPoint).orThrow()
      // 420 MiB do not fit in 300: it says how much is missing.
      let small = try resize("300M", scratch)
      expectRefusal(small, naming: "it needs at least")
      expectRefusal(try resize("-2G", scratch), naming: "cannot be changed by")
      expectRefusal(try resize("1M", scratch), naming: "smaller")
      expectRefusal(try resize("lots", scratch), naming: "size")
      #expect(Self.length(scratch.image) == 1 << 30)
      for number in 0..<60 { #expect(try scratch.holds("f\(number)")) }
      try mounted.unmount()
      try scratch.expectSound()
    }

    /// How many bytes a refusal says that a size is too small by.
    private static func missing(_ result: CommandResult) throws -> Int {
      let words = result.errors.split(whereSeparator: { $0 == " " || $0 == "\n" })
      let place = try #require(words.firstIndex(of: "least"), "\(result.summary)")
      try #require(place + 1 < words.count, "\(result.summary)")
      return try #require(Int(words[place + 1]), "\(result.summary)")
    }

    /// From too small a size on up, until one is enough: what each refusal has said is missing is
    /// no more than that, and not much less.
    @Test(.needsFuse, .timeLimit(.minutes(3))) func saysHowMuchIsMissing() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "1G")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      for number in 0..<60 { try scratch.write("f\(number)", seed: 1, length: 7 << 20) }
      try FsmountProgram.run("sync", scratch.mountPoint).orThrow()
      let step = 24 << 20
      // A chunk of data, and one of metadata in two copies, may be needed where a few bytes are
      // missing.
      let slack = 256 << 20
      var refused: [(size: Int, missing: Int)] = []
      var size = 300 << 20
      while true {
        let result = try resize("\(size)", scratch)
        if result.succeeded { break }
        refused.append((size, try Self.missing(result)))
        size += step
        try #require(size < 1 << 30, "\(refused)")
      }
      #expect(refused.count >= 4, "\(refused)")
      for (before, missing) in refused {
        #expect(missing > 0 && before + missing <= size, "\(before), \(missing), \(size)")
        #expect(size - before - missing <= slack, "\(before), \(missing), \(size)")
      }
      // Deleting helps as well: what the first refusal has said, and a little more.
      let first = try #require(refused.first)
      for number in 0..<min((first.missing + slack) / (7 << 20), 50) {
        let path = scratch.root.appending("f\(number)")
        try check("unlink") { path.withCPath { unlink($0) } }
      }
      try FsmountProgram.run("sync", scratch.mountPoint).orThrow()
      try resize("\(first.size)", scratch).orThrow()
      for number in 50..<60 { #expect(try scratch.holds("f\(number)")) }
      try mounted.unmount()
      try scratch.expectSound()
    }

    /// A balance, resizes and a trim on a block device, which stays as long as it is.
    @Test(.needsRoot, .needsFuse, .timeLimit(.minutes(2))) func onABlockDevice() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "2G")
      let device = String(
        try Shell.run("losetup", "-f", "--show", scratch.image).orThrow().output.dropLast())
      defer { _ = try? Shell.run("losetup", "-d", device) }
      let onDevice = try Scratch(image: device)
      let mounted = try onDevice.mount("discard")
      defer { try? mounted.unmount() }
      for number in 0..<20 { try onDevice.write("f\(number)", seed: 1, length: 5 << 20) }
      try FsmountProgram.run("sync", onDevice.mountPoint).orThrow()
      for size in ["1G", "max", "1500M"] {
        try resize(size, onDevice).orThrow()
        try FsmountProgram.run("balance", "start", "-d", "-m", onDevice.mountPoint, timeout: 100)
          .orThrow()
        try FsmountProgram.run("trim", onDevice.mountPoint).orThrow()
        for number in 0..<20 { #expect(try onDevice.holds("f\(number)"), "\(size)") }
      }
      expectRefusal(try resize("2100M", onDevice), naming: "longer")
      #expect(Self.length(scratch.image) == 2 << 30)
      try mounted.unmount()
      try onDevice.expectSound()
      let kernel = try onDevice.mountByKernel()
      for number in 0..<20 { #expect(try onDevice.holds("f\(number)")) }
      try kernel.unmount()
      try kernel.expectCleanLog()
    }
  }
}

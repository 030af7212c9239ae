import Glibc
import TestSupport
import Testing

extension MountTests {
  /// FITRIM by Linux, of an image in a loop device, and by fsmount, of the same image: the same
  /// answers.
  @Suite(.timeLimit(.minutes(3))) struct TrimTwinTests {
    private struct Request: CustomStringConvertible {
      var start: UInt64 = 0
      var length = UInt64.max
      var minimum: UInt64 = 0
      var description: String { "from \(start), \(length) bytes, at least \(minimum)" }
    }

    /// The three numbers that the ioctl answers with, or its error.
    private static func trim(_ directory: String, _ request: Request) throws -> String {
      let descriptor = try check("open \(directory)") { open(directory, O_RDONLY | O_CLOEXEC) }
      defer { close(descriptor) }
      var range = [request.start, request.length, request.minimum]
      let status = range.withUnsafeMutableBytes {
        Linux.ioctl(descriptor, 0xc018_5879, $0.baseAddress!)
      }
      return status == 0 ? "\(range)" : errorName(errno)
    }

    /// Where the block groups begin, and one behind them all.
    private static func groups(_ image: String) throws -> [UInt64] {
      let text = try Shell.run("btrfs", "inspect-internal", "dump-tree", "-t", "chunk", image)
        .orThrow().output
      let starts = text.split(separator: "\n").filter { $0.contains(" CHUNK_ITEM ") }.compactMap {
        line -> UInt64? in
        let word = line.split(separator: " ").drop { $0 != "CHUNK_ITEM" }.dropFirst().first
        return word.flatMap { UInt64($0.prefix { $0.isNumber }) }
      }
      return starts
    }

    private static func requests(_ groups: [UInt64]) -> [Request] {
      let sector: UInt64 = 4096
      var requests = [
        // Linux discards what no chunk has when it is asked first, whatever the range is.
        Request(start: 1 << 40, length: sector), Request(), Request(),
      ]
      let starts: [UInt64] = [
        0, 1, 511, sector, 65536, 1 << 30, 1 << 40, .max / 2, .max / 2 + 1, .max - sector - 1,
        .max - sector, .max - 1, .max,
      ]
      let lengths: [UInt64] = [
        0, 1, 100, sector - 1, sector, 1 << 20, 1 << 30, .max / 2, .max / 2 + 1, .max - 1, .max,
      ]
      for start in starts {
        for length in lengths { requests.append(Request(start: start, length: length)) }
      }
      for start in groups {
        for length in [sector, 65536, 1 << 20, 64 << 20] {
          requests.append(Request(start: start, length: length))
        }
      }
      for minimum: UInt64 in [1, 512, sector + 1, 65536, 1 << 20, 4 << 20, 1 << 40, .max] {
        requests.append(Request(minimum: minimum))
      }
      return requests
    }

    @Test(
      .needsRoot, .timeLimit(.minutes(2)),
      arguments: [
        ["--size", "1G"], ["--size", "512M", "--data", "dup", "--space-cache", "v2"],
        ["--size", "256M", "--mixed"],
      ])
    func theSameAnswers(options: [String]) throws {
      let scratch = try Scratch()
      let twin = try Scratch()
      try FsmountProgram.run(["mkfs"] + options + [scratch.image]).orThrow()
      let maker = try scratch.mount()
      defer { try? maker.unmount() }
      for number in 0..<24 {
        try scratch.write("f\(number)", seed: UInt64(number + 1), length: (number % 5 + 1) << 20)
        // What was written together stands together.
        try scratch.sync("f\(number)")
      }
      for number in stride(from: 0, to: 24, by: 2) {
        try check("unlink") { scratch.root.appending("f\(number)").withCPath { unlink($0) } }
      }
      try maker.unmount()
      try Shell.run("cp", "--sparse=always", scratch.image, twin.image).orThrow()
      let requests = Self.requests(try Self.groups(scratch.image))

      let kernel = try twin.mountByKernel("noatime")
      defer { try? kernel.unmount() }
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      var accepted = 0
      for request in requests {
        let theirs = try Self.trim(twin.mountPoint, request)
        let ours = try Self.trim(scratch.mountPoint, request)
        #expect(ours == theirs, "\(request)")
        if ours.hasPrefix("[") { accepted += 1 }
      }
      #expect(accepted > 60 && accepted < requests.count - 40)
      try kernel.unmount()
      for number in stride(from: 1, to: 24, by: 2) { #expect(try scratch.holds("f\(number)")) }
      try mounted.unmount()
      try scratch.expectSound()
    }

    /// Linux leaves a block group alone in which a range begins. Here whole sectors of the range go.
    @Test(.needsFuse, .timeLimit(.minutes(1))) func partsOfAGroup() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "1G")
      let group = try #require(try Self.groups(scratch.image).first)
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      _ = try Self.trim(scratch.mountPoint, Request())
      for (start, length, trimmed) in [
        (1 << 20, 1 << 20, 1 << 20), (4096, 4096, 4096), (1, 8192, 4096), (0, 8191, 4096),
        (8191, 4097, 4096),
      ] as [(UInt64, UInt64, UInt64)] {
        let request = Request(start: group + start, length: length)
        #expect(
          try Self.trim(scratch.mountPoint, request) == "\([request.start, trimmed, 4096])",
          "\(request)")
      }
      // The part within the range counts, not the free range around it.
      let short = Request(start: group, length: 8192, minimum: 8193)
      #expect(try Self.trim(scratch.mountPoint, short) == "\([group, 0, 8193])")
      try mounted.unmount()
      try scratch.expectSound()
    }

    /// What no chunk has is discarded once; where a chunk stood it is discarded again.
    @Test(.needsFuse, .timeLimit(.minutes(1))) func unallocatedSpaceGoesOnce() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "4G")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      func trimmed() throws -> Int {
        let answer = try Self.trim(scratch.mountPoint, Request())
        return try #require(
          answer.split(separator: " ").dropFirst().first.flatMap {
            Int($0.prefix { $0.isNumber })
          })
      }
      let first = try trimmed()
      let second = try trimmed()
      #expect(first > 3 << 30 && second < 1 << 30, "\(first), then \(second)")

      // The first data group, of 8 MiB, is not large enough, and another one is made.
      try scratch.write("large", seed: 1, length: 40 << 20)
      try mounted.sync()
      try check("unlink") { scratch.root.appending("large").withCPath { unlink($0) } }
      try FsmountProgram.run("balance", "start", "-dusage=0", scratch.mountPoint).orThrow()
      let third = try trimmed()
      #expect(try trimmed() == third - 8 << 20)
      try mounted.unmount()
      try scratch.expectSound()
    }
  }
}

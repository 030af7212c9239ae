import Glibc
import TestSupport
import Testing

extension MountTests {
  /// `btrfs balance` of an image in a loop device, and `fsmount balance` of the same image: they
  /// move the same number of block groups, and leave the same profiles.
  @Suite(.timeLimit(.minutes(5))) struct BalanceTwinTests {
    private static let accepted = [
      ["-d"], ["-m"], ["-mprofiles=dup"], ["-mprofiles=single"], ["-f", "-mconvert=single"],
      ["-mconvert=dup,soft"], ["-musage=5"], ["-f", "-sconvert=single"], ["-dusage=20..30"],
      ["-dlimit=2"], ["-dlimit=9.."], ["-ddevid=1,drange=0..400000000"], ["-dvrange=..14000000"],
      ["-dconvert=dup,soft"],
    ]
    private static let refused = [
      ["-dvrange=5..5"], ["-ddevid=1,drange=5..5"], ["-s"], ["-dsoft"], ["-mconvert=single"],
    ]

    /// Block groups of data that are used to 64, 50, 29 and 36 percent, and the small first one.
    private static func make(_ scratch: Scratch) throws {
      try scratch.make("--size", "1G")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      func allocate(_ name: String, megabytes: Int) throws {
        let path = scratch.root.appending(name)
        let descriptor = try check("create \(path)") {
          path.withCPath { open($0, O_RDWR | O_CREAT | O_CLOEXEC, 0o644) }
        }
        defer { close(descriptor) }
        let code = posix_fallocate(descriptor, 0, megabytes << 20)
        guard code == 0 else { throw TestFailure("allocate \(path): \(errorName(code))") }
        try check("fsync \(path)") { fsync(descriptor) }
      }
      try allocate("first", megabytes: 6)
      for number in 0..<10 { try allocate("f\(number)", megabytes: 40) }
      for number in [1, 2, 5, 6, 8] {
        try check("unlink") { scratch.root.appending("f\(number)").withCPath { unlink($0) } }
      }
      for number in 0..<200 { try scratch.write("small\(number)", seed: 1, length: 3000) }
      try mounted.unmount()
    }

    /// The number that stands before `words`, as the last one of the text before.
    private static func number(before words: String, in text: String) -> Int? {
      guard let place = text.firstRange(of: words) else { return nil }
      let before = text[..<place.lowerBound].split { !$0.isNumber }
      return before.last.flatMap { Int($0) }
    }

    /// `Data,single: Metadata,DUP: System,DUP:`
    private static func profiles(_ image: String) throws -> [String] {
      let text = try FsmountProgram.run("usage", "-b", image).orThrow().output
      return text.split(separator: "\n").filter { $0.contains(": Size:") }
        .compactMap { $0.split(separator: " ").first.map(String.init) }
    }

    @Test(.needsRoot, .needsFuse, .timeLimit(.minutes(4))) func theSameGroups() throws {
      let base = try Scratch()
      try Self.make(base)
      var most = 0
      for filters in Self.accepted {
        let (ours, theirs) = (try Scratch(), try Scratch())
        for twin in [ours, theirs] {
          try Shell.run("cp", "--sparse=always", base.image, twin.image).orThrow()
        }
        let kernel = try theirs.mountByKernel()
        defer { try? kernel.unmount() }
        // "Done, had to relocate 2 out of 7 chunks"
        let relocated = try Shell.run(
          ["btrfs", "balance", "start"] + filters + [theirs.mountPoint], timeout: 100
        ).orThrow()
        try kernel.unmount()

        let mounted = try ours.mount()
        defer { try? mounted.unmount() }
        // "2 of 2 block groups moved, …"
        let moved = try FsmountProgram.run(
          ["balance", "start"] + filters + [ours.mountPoint], timeout: 100
        ).orThrow()
        for number in 0..<200 { #expect(try ours.holds("small\(number)")) }
        try mounted.unmount()

        let expected = try #require(
          Self.number(before: " out of ", in: relocated.output), "\(relocated.summary)")
        let found = try #require(Self.number(before: " of ", in: moved.output), "\(moved.summary)")
        #expect(found == expected, "\(filters): \(moved.summary)\(relocated.summary)")
        #expect(
          try Self.profiles(ours.image) == Self.profiles(theirs.image), "\(filters)")
        try ours.expectSound()
        most = max(most, found)
      }
      #expect(most == 5)
    }

    @Test(.needsRoot, .needsFuse, .timeLimit(.minutes(2))) func theSameRefusals() throws {
      let (ours, theirs) = (try Scratch(), try Scratch())
      for scratch in [ours, theirs] { try scratch.make("--size", "256M") }
      let kernel = try theirs.mountByKernel()
      defer { try? kernel.unmount() }
      let mounted = try ours.mount()
      defer { try? mounted.unmount() }
      for filters in Self.refused {
        let command = ["balance", "start"] + filters
        let expected = try Shell.run(["btrfs"] + command + [theirs.mountPoint])
        #expect(expected.status != 0, "\(expected.summary)")
        expectRefusal(try FsmountProgram.run(command + [ours.mountPoint]))
      }
      try mounted.unmount()
      try ours.expectSound()
    }
  }
}

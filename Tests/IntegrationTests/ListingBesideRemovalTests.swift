import Glibc
import Synchronization
import TestSupport
import Testing

extension MountTests {
  /// `rm -r` beside listings of the same tree, on a mount.
  @Suite(.timeLimit(.minutes(3))) struct ListingBesideRemovalTests {
    private static let count = 6000

    private static func name(_ number: Int) -> String {
      number % 4 == 0 ? "stays-\(number)" : "goes-\(number)"
    }

    /// Each name once, and every one that stays; with `ls -l`, which wants attributes, in turns.
    private static func look(_ directory: BytePath, _ round: Int) throws {
      let names: [String]
      if round % 3 == 2 {
        let lines = try Shell.run("ls", "-l", "\(directory)").output.split(separator: "\n")
        names = lines.dropFirst().map { String($0.split(separator: " ").last ?? "") }
      } else {
        names = try directoryNames(directory).map { String(decoding: $0, as: UTF8.self) }
      }
      let found = Set(names)
      guard found.count == names.count else {
        throw TestFailure("\(names.count - found.count) names of \(directory) are listed twice")
      }
      for number in stride(from: 0, to: count, by: 4) where !found.contains(name(number)) {
        throw TestFailure("\(directory) lacks \(name(number)) in a list of \(names.count)")
      }
    }

    @Test(.needsFuse, .timeLimit(.minutes(3)))
    func nothingIsMissedOrListedTwice() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "1G", "--nodesize", "4096")
      let root = scratch.root
      let mixed = root.appending("mixed")
      do {
        let mounted = try scratch.mount()
        defer { try? mounted.unmount() }
        for directory in ["mixed", "mixed/doomed-0", "mixed/doomed-1", "mixed/doomed-1/deep"] {
          let path = root.appending(directory)
          try check("mkdir \(path)") { path.withCPath { mkdir($0, 0o755) } }
        }
        for number in 0..<Self.count {
          try writeFile(mixed.appending(Self.name(number)), [])
          for part in ["doomed-0", "doomed-1/deep"] where number % 3 == 0 {
            try writeFile(mixed.appending("\(part)/f\(number)"), [])
          }
        }
        try mounted.unmount()
      }
      let mounted = try scratch.mount("cache=16M,commit=1")
      defer { try? mounted.unmount() }
      let working = Atomic(2)
      try onThreads(5) { thread in
        switch thread {
        case 0:
          defer { working.subtract(1, ordering: .sequentiallyConsistent) }
          let command = "rm -r \(mixed)/doomed-*"
          try Shell.run("sh", "-c", command, timeout: 100).orThrow()
        case 1:
          defer { working.subtract(1, ordering: .sequentiallyConsistent) }
          let command = "find \(mixed) -maxdepth 1 -name 'goes-*' -print0 | xargs -0 rm"
          try Shell.run("sh", "-c", command, timeout: 100).orThrow()
        default:
          var round = thread
          while working.load(ordering: .relaxed) > 0 || round < thread + 3 {
            try Self.look(mixed, round)
            round += 1
          }
        }
      }
      #expect(try directoryNames(mixed).count == Self.count / 4)
      #expect(isRunning(mounted.processID))
      try mounted.unmount()
      #expect(!mounted.messages.contains("error"), "\(mounted.messages)")
      try scratch.expectSound()
    }
  }
}

import Glibc
import Synchronization
import TestSupport
import Testing

extension MountTests {
  /// Several programs in one directory at a time.
  @Suite(.timeLimit(.minutes(3))) struct ParallelDirectoryTests {
    /// The kernel sends the second look at a directory before the first was answered. It says how many
    /// requests it waits for; the daemon stands still meanwhile.
    @Test(.needsRoot, .timeLimit(.minutes(1)))
    func requestsDoNotWaitForEachOther() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let connections = try scratch.directory.directory("connections")
      try Shell.run("mount", "-t", "fusectl", "fusectl", connections).orThrow()
      defer { _ = try? Shell.run("umount", connections) }
      let entry = try #require(MountTableEntry.at(scratch.mountPoint))
      let waiting = "\(connections)/\(entry.deviceMinor)/waiting"
      try #require(readText(waiting) == "0\n")

      let isStopped = Atomic(false)
      let most = Atomic(0)
      let (root, daemon) = (scratch.root, mounted.processID)
      let threads = 4
      try onThreads(threads + 1) { thread in
        guard thread == threads else {
          while !isStopped.load(ordering: .acquiring) { usleep(200) }
          var status = stat()
          let found = outcome {
            root.appending("absent \(thread)").withCPath { lstat($0, &status) }
          }
          guard found == -Int(ENOENT) else { throw TestFailure("\(found)") }
          return
        }
        defer { isStopped.store(true, ordering: .releasing) }
        try whileStopped(daemon) {
          isStopped.store(true, ordering: .releasing)
          let deadline = monotonicSeconds() + 10
          while most.load(ordering: .relaxed) < threads, monotonicSeconds() < deadline {
            most.store(Int(readText(waiting).dropLast()) ?? -1, ordering: .relaxed)
            usleep(1_000)
          }
        }
      }
      let found = most.load(ordering: .relaxed)
      // Other programs may look at the mount, too.
      #expect(found >= threads)
    }

    /// Threads look up, list, make and remove names in one directory.
    @Test(.needsFuse, .timeLimit(.minutes(2)), arguments: ["", "default_permissions,cache=16M"])
    func everythingAtOnce(options: String) throws {
      let scratch = try Scratch()
      try scratch.make("--size", "512M")
      let directory = scratch.root.appending("directory")
      let count = 1500
      do {
        let mounted = try scratch.mount()
        defer { try? mounted.unmount() }
        try check("mkdir") { directory.withCPath { mkdir($0, 0o755) } }
        for number in 0..<count {
          try writeFile(directory.appending("stays \(number)"), [UInt8(number % 251)])
        }
        try mounted.unmount()
      }
      // The kernel knows no name.
      let mounted = try scratch.mount(options)
      defer { try? mounted.unmount() }
      let looking = Atomic(3)
      try onThreads(6) { thread in
        var random = SeededRandom(testSeed: UInt64(11 + thread))
        switch thread {
        case 0..<3:
          defer { looking.subtract(1, ordering: .sequentiallyConsistent) }
          for number in (0..<count).shuffled(using: &random) {
            let path = directory.appending("stays \(number)")
            var status = stat()
            try check("lstat \(path)") { path.withCPath { lstat($0, &status) } }
            guard status.st_size == 1, try readFile(path) == [UInt8(number % 251)] else {
              throw TestFailure("\(path) is not what it was")
            }
          }
        case 3, 4:
          while looking.load(ordering: .sequentiallyConsistent) > 0 {
            let names = try directoryNames(directory).map { String(decoding: $0, as: UTF8.self) }
            let staying = names.filter { $0.hasPrefix("stays") }
            guard staying.count == count, Set(staying).count == count else {
              throw TestFailure("a list has \(staying.count) of \(count) names, or one twice")
            }
          }
        default:
          var number = 0
          while looking.load(ordering: .sequentiallyConsistent) > 0 {
            let path = directory.appending("goes \(number % 20)")
            number += 1
            try writeFile(path, [1, 2, 3])
            let isGone = random.below(2) == 0
            if isGone { try check("unlink \(path)") { path.withCPath { unlink($0) } } }
            let found = outcome { path.withCPath { access($0, F_OK) } }
            guard found == (isGone ? -Int(ENOENT) : 0) else {
              throw TestFailure("\(path): \(found) after it was \(isGone ? "removed" : "made")")
            }
          }
        }
      }
      try mounted.unmount()
      try scratch.expectSound()
    }
  }
}

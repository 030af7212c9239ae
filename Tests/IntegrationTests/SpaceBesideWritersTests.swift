import Glibc
import Synchronization
import TestSupport
import Testing

extension MountTests {
  /// Resizes, trims, balances and `discard` beside writers. What was made durable is there after a
  /// kill at any moment, and in a copy of the image that is made right after a trim.
  @Suite(.timeLimit(.minutes(5))) struct SpaceBesideWritersTests {
    /// Threads that write and delete files, and what they have made durable so far.
    private final class Writers: Sendable {
      private static let count = 2
      private static let filesEach = 14
      private let root: BytePath
      private let seed: UInt64
      /// By name, and when each was made durable.
      private let times: Mutex<(next: Int, byName: [String: Int])>
      private let isOver = Atomic<Bool>(false)

      /// - Parameter durable: the names of files that are durable already.
      init(_ root: BytePath, seed: UInt64, durable: Set<String> = []) {
        self.root = root
        self.seed = seed
        times = Mutex((0, Dictionary(uniqueKeysWithValues: durable.map { ($0, 0) })))
      }

      /// Names of files that are durable, and that no writer has begun to change.
      var durable: Set<String> { Set(times.withLock { $0.byName.keys }) }

      /// Names of files that were durable all the while `body` ran, and were not changed.
      func durableThroughout(_ body: () throws -> Void) rethrows -> Set<String> {
        let before = times.withLock { $0.byName }
        try body()
        let after = times.withLock { $0.byName }
        return Set(before.filter { after[$0.key] == $0.value }.keys)
      }

      func stop() { isOver.store(true, ordering: .relaxed) }

      /// Writes beside `body`, and ends with it. With `mayFail` the mount may go away meanwhile.
      func run(mayFail: Bool, beside body: @escaping @Sendable () throws -> Void) throws {
        try onThreads(Self.count + 1) { index in
          guard index > 0 else {
            defer { self.stop() }
            return try body()
          }
          do {
            try self.work(index)
          } catch {
            if !mayFail { throw error }
          }
        }
      }

      private func work(_ writer: Int) throws {
        var random = SeededRandom(testSeed: seed + UInt64(writer))
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4 << 20, alignment: 4096)
        defer { buffer.deallocate() }
        while !isOver.load(ordering: .relaxed) {
          let name = "writer-\(writer)-\(random.below(Self.filesEach))"
          let path = root.appending(name)
          // From here on it is in doubt.
          times.withLock { $0.byName[name] = nil }
          if random.oneIn(4) {
            _ = path.withCPath { unlink($0) }
            continue
          }
          let length = random.oneIn(3) ? 100 + random.below(2_000) : 4096 + random.below(4_000_000)
          try SelfVerifyingFile.write(path, seed: random.next(), length: length, buffer: buffer)
          if random.oneIn(3) { continue }
          let descriptor = try check("open") { path.withCPath { open($0, O_RDONLY) } }
          defer { close(descriptor) }
          try check("fsync") { fsync(descriptor) }
          times.withLock {
            $0.next += 1
            $0.byName[name] = $0.next
          }
        }
      }

      /// All of `names` are below `root` and are right.
      static func expect(_ names: Set<String>, below root: BytePath, _ note: String) throws {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 8 << 20, alignment: 4096)
        defer { buffer.deallocate() }
        for name in names.sorted() {
          let isThere = try SelfVerifyingFile.verify(root.appending(name), buffer: buffer)
          #expect(isThere, "\(note): \(name) is lost")
        }
      }
    }

    private static func command(_ arguments: [String]) throws {
      try FsmountProgram.run(arguments, timeout: 60).orThrow()
    }

    /// Copies what the file holds and leaves out its holes.
    private static func copy(_ source: String, to target: String) throws {
      let input = try check("open \(source)") { open(source, O_RDONLY | O_CLOEXEC) }
      defer { close(input) }
      let output = try check("create \(target)") {
        open(target, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
      }
      defer { close(output) }
      let end = try check("seek") { lseek(input, 0, SEEK_END) }
      try check("truncate \(target)") { ftruncate(output, end) }
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
      defer { buffer.deallocate() }
      var offset = 0
      while offset < end {
        let data = lseek(input, offset, Linux.seekData)
        guard data >= 0 else { break }
        let hole = try check("seek") { lseek(input, data, Linux.seekHole) }
        offset = data
        while offset < hole {
          let count = try check("read \(source)") {
            pread(input, buffer.baseAddress!, min(buffer.count, hole - offset), offset)
          }
          let written = try check("write \(target)") {
            pwrite(output, buffer.baseAddress!, count, offset)
          }
          guard count > 0, written == count else { throw TestFailure("\(target): no room") }
          offset += count
        }
      }
    }

    /// The device becomes longer and shorter and is trimmed in a loop. What the image file holds
    /// right after a trim is a file system with all that is durable.
    @Test(.needsFuse, .timeLimit(.minutes(4)), arguments: ["v1", "v2"])
    func copiesAfterATrim(record: String) throws {
      let scratch = try Scratch()
      try scratch.make("--size", "1G", "--space-cache", record)
      let other = try Scratch()
      let mounted = try scratch.mount("discard,commit=1", lifetime: 200)
      defer { try? mounted.unmount() }
      let writers = Writers(scratch.root, seed: record == "v1" ? 100 : 110)
      let (mountPoint, image, copy) = (scratch.mountPoint, scratch.image, other.image)
      let daemon = mounted.processID
      let kept = Mutex<[Set<String>]>([])

      try writers.run(mayFail: false) {
        for (round, size) in ["700M", "1G", "600M", "800M"].enumerated() {
          usleep(300_000)
          try Self.command(["resize", size, mountPoint])
          try Self.command(["trim", mountPoint])
          let names = try writers.durableThroughout {
            try whileStopped(daemon) { try Self.copy(image, to: "\(copy)-\(round)") }
          }
          kept.withLock { $0.append(names) }
        }
      }
      #expect(mounted.messages.contains("read-only") == false, "\(mounted.messages)")
      try Writers.expect(writers.durable, below: scratch.root, "the mount")
      try mounted.unmount()
      try scratch.expectSound()

      for (round, names) in kept.withLock({ $0 }).enumerated() {
        let image = "\(copy)-\(round)"
        try ImageCheck.expectSound(image)
        let again = try FsmountMount(image, at: other.mountPoint, lifetime: 60)
        defer { try? again.unmount() }
        try Writers.expect(names, below: other.root, "copy \(round)")
        try again.unmount()
        try ImageCheck.expectSound(image)
        unlink(image)
      }
      #expect(kept.withLock { $0.contains { $0.count > 3 } }, "hardly anything was durable")
    }

    /// SIGKILL while space is given back, moved and discarded.
    @Test(.needsFuse, .timeLimit(.minutes(4)), arguments: ["v1", "v2"])
    func kills(record: String) throws {
      let scratch = try Scratch()
      try scratch.make("--size", "1G", "--space-cache", record)
      var random = SeededRandom(testSeed: record == "v1" ? 120 : 130)
      var durable: Set<String> = []
      for round in 0..<5 {
        let mounted = try scratch.mount("discard,commit=1", lifetime: 100)
        defer { mounted.killDaemon() }
        try Writers.expect(durable, below: scratch.root, "round \(round)")
        let writers = Writers(scratch.root, seed: 200 + UInt64(round) * 10, durable: durable)
        let pause = random.below(1_500_000 as UInt32)
        let commands = [
          ["resize", round % 2 == 0 ? "700M" : "1G"], ["trim"], ["balance", "start", "-d", "-m"],
        ]
        let (daemon, mountPoint) = (mounted.processID, scratch.mountPoint)
        try writers.run(mayFail: true) {
          usleep(400_000)
          let running = try RunningCommand([
            "sh", "-c",
            try commands.map { command in
              ([try FsmountProgram.required()] + command + [mountPoint])
                .map { "'\($0)'" }.joined(separator: " ")
            }.joined(separator: "; "),
          ])
          usleep(pause)
          kill(daemon, SIGKILL)
          let ending = running.wait(timeout: 30)
          guard ending.status != nil else { throw TestFailure("a command outlives its mount") }
        }
        durable = writers.durable
        mounted.killDaemon()
        try ImageCheck.expectSound(scratch.image)
      }
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      try Writers.expect(durable, below: scratch.root, "the end")
      #expect(durable.count > 3, "hardly anything was durable")
      try mounted.unmount()
      try scratch.expectSound()
    }
  }
}

import Glibc
import Synchronization
import TestSupport
import Testing

extension MountTests {
  /// Writes with O_DIRECT to a file that others read through the kernel's memory.
  @Suite(.needsFuse, .timeLimit(.minutes(2))) struct DirectWriteTests {
    private static let size = 160 << 12

    private let scratch: Scratch
    private var path: BytePath { scratch.root.appending("file") }

    init() throws {
      scratch = try Scratch()
      try scratch.make("--size", "256M")
    }

    /// Readers bring pages back while a write is under way that its program does not wait for.
    /// What has been written is what a read afterwards finds.
    @Test(arguments: [false, true])
    func readersSeeWhatWasWritten(readersComeAndGo: Bool) throws {
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      try writeFile(path, [UInt8](repeating: 1, count: Self.size))
      let hasEnded = Atomic(false)

      let path = path
      try onThreads(3) { thread in
        defer { hasEnded.store(true, ordering: .relaxed) }
        if thread == 0 {
          try Self.write(path, rounds: 400)
        } else {
          let page = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.size, alignment: 4096)
          defer { page.deallocate() }
          while !hasEnded.load(ordering: .relaxed) {
            try Self.reading(path) { descriptor in
              repeat {
                _ = try check("pread") { pread(descriptor, page.baseAddress, page.count, 0) }
              } while !readersComeAndGo && !hasEnded.load(ordering: .relaxed)
            }
          }
        }
      }
      try mounted.unmount()
      try scratch.expectSound()
    }

    private static func reading(_ path: BytePath, _ body: (Int32) throws -> Void) throws {
      let descriptor = try check("open") { path.withCPath { open($0, O_RDONLY) } }
      defer { close(descriptor) }
      try body(descriptor)
    }

    private static func write(_ path: BytePath, rounds: Int) throws {
      let writer = try AsynchronousWriter()
      let descriptor = try check("open") {
        path.withCPath { open($0, O_WRONLY | Linux.openDirect) }
      }
      defer { close(descriptor) }
      let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.size, alignment: 4096)
      let found = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.size, alignment: 4096)
      defer {
        bytes.deallocate()
        found.deallocate()
      }
      for round in 1...rounds {
        memset(bytes.baseAddress!, Int32(round & 0xff), bytes.count)
        let count = try writer.write(descriptor, at: 0, UnsafeRawBufferPointer(bytes))
        guard count == bytes.count else { throw TestFailure("round \(round): written \(count)") }
        try reading(path) { descriptor in
          _ = try check("pread") { pread(descriptor, found.baseAddress, found.count, 0) }
        }
        guard memcmp(bytes.baseAddress!, found.baseAddress!, bytes.count) == 0 else {
          throw TestFailure("round \(round): an old page was read")
        }
      }
    }
  }
}

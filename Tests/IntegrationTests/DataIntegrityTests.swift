import Glibc
import TestSupport
import Testing

extension MountTests {
  /// Wrong data on the device is never given out.
  @Suite(.timeLimit(.minutes(5))) struct DataIntegrityTests {
    private static let blockCount = 64

    /// A file of recognisable blocks; returns the offset in the image of every copy of `block`.
    private func prepare(_ scratch: Scratch, block: Int) throws -> [Int] {
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      try writeFile(scratch.root.appending("file"), Self.contents)
      try mounted.unmount()
      try scratch.expectSound()
      let wanted = Array(Self.contents[block * 4096..<(block + 1) * 4096])
      let descriptor = try check("open") { open(scratch.image, O_RDONLY) }
      defer { close(descriptor) }
      var found: [Int] = []
      var buffer = [UInt8](repeating: 0, count: 4096)
      var offset = 0
      while true {
        offset = lseek(descriptor, offset, Linux.seekData)
        if offset < 0 { break }
        offset &= ~4095
        let end = lseek(descriptor, offset, Linux.seekHole)
        while offset < end {
          if pread(descriptor, &buffer, 4096, offset) == 4096, buffer == wanted {
            found.append(offset)
          }
          offset += 4096
        }
      }
      return found
    }

    private static let contents: [UInt8] = {
      var random = SeededRandom(testSeed: 99)
      return (0..<blockCount * 512).flatMap { _ in
        let word = random.next()
        return (0..<8).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) }
      }
    }()

    private func damage(_ image: String, at offset: Int) throws {
      let descriptor = try check("open") { open(image, O_RDWR) }
      defer { close(descriptor) }
      var byte: UInt8 = 0
      try check("pread") { pread(descriptor, &byte, 1, offset + 1000) }
      byte ^= 0x10
      try check("pwrite") { pwrite(descriptor, &byte, 1, offset + 1000) }
    }

    @Test(
      .needsFuse, .timeLimit(.minutes(1)), arguments: ["crc32c", "xxhash", "sha256", "blake2"])
    func wrongBlockIsAnError(_ checksum: String) throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M", "--csum", checksum)
      let copies = try prepare(scratch, block: 20)
      try #require(copies.count == 1)
      try damage(scratch.image, at: copies[0])
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      try readBlocks(scratch.root.appending("file"), damaged: 20)
      try mounted.unmount()
      #expect(mounted.messages.lowercased().contains("checksum"))
    }

    private func readBlocks(_ path: BytePath, damaged: Int) throws {
      let descriptor = try check("open") { path.withCPath { open($0, O_RDONLY) } }
      defer { close(descriptor) }
      // Without read-ahead every block stands for itself.
      posix_fadvise(descriptor, 0, 0, POSIX_FADV_RANDOM)
      var buffer = [UInt8](repeating: 0, count: 4096)
      for block in 0..<Self.blockCount {
        let result = outcome { pread(descriptor, &buffer, 4096, block * 4096) }
        if block == damaged {
          #expect(result == -Int(EIO), "the damaged block reads with \(result)")
        } else {
          #expect(result == 4096)
          #expect(buffer[...] == Self.contents[block * 4096..<(block + 1) * 4096])
        }
      }
    }

    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func otherCopyIsUsedAndTheBadOneMended() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "512M", "--data", "dup")
      let copies = try prepare(scratch, block: 33)
      try #require(copies.count == 2)
      var mended = 0
      for copy in copies {
        try damage(scratch.image, at: copy)
        let mounted = try scratch.mount()
        defer { try? mounted.unmount() }
        let found = try readFile(scratch.root.appending("file"))
        #expect(found == Self.contents)
        try mounted.unmount()
        if try isWhole(scratch.image, block: 33, at: copy) {
          mended += 1
        } else {
          // Which copy a reader takes is its own affair; this one was not looked at.
          try damage(scratch.image, at: copy)
        }
      }
      #expect(mended > 0)
      try ImageCheck.expectSound(scratch.image)
    }

    private func isWhole(_ image: String, block: Int, at offset: Int) throws -> Bool {
      let descriptor = try check("open") { open(image, O_RDONLY) }
      defer { close(descriptor) }
      var buffer = [UInt8](repeating: 0, count: 4096)
      try check("pread") { pread(descriptor, &buffer, 4096, offset) }
      return buffer[...] == Self.contents[block * 4096..<(block + 1) * 4096]
    }

    /// The image may be a block device.
    @Test(.needsRoot, .timeLimit(.minutes(1)))
    func blockDevice() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "512M")
      let device = String(
        try Shell.run("losetup", "-f", "--show", scratch.image).orThrow().output.dropLast())
      defer { _ = try? Shell.run("losetup", "-d", device) }
      let mounted = try FsmountMount(device, at: scratch.mountPoint)
      defer { try? mounted.unmount() }
      try scratch.work(seed: 71, operations: 300)
      let tree = try scratch.snapshot()
      try mounted.unmount()
      try Shell.run("blockdev", "--flushbufs", device).orThrow()
      try ImageCheck.expectSound(device)
      let again = try FsmountMount(device, at: scratch.mountPoint, options: "ro")
      defer { try? again.unmount() }
      try tree.expectSame(as: scratch.snapshot(), names: ("before", "after remounting"))
    }
  }
}

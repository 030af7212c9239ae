import Glibc
import TestSupport
import Testing

extension MountTests {
  /// What only the kernel can make, and what only it can judge.
  @Suite(.timeLimit(.minutes(5))) struct KernelImageTests {
    @Test(.needsRoot, .timeLimit(.minutes(1)), arguments: ["zlib", "lzo", "zstd"])
    func compressedExtents(_ algorithm: String) throws {
      let scratch = try Scratch()
      try ImageVariant(name: "plain").makeWithKernelTools(scratch.image)
      let kernel = try scratch.mountByKernel(
        LoopMount.kernelOptions + ",compress-force=\(algorithm)")
      defer { try? kernel.unmount() }
      for index in 0..<30 {
        let text = (0..<index * 700).map { "line \($0) of \(index), much like the others\n" }
        try writeFile(scratch.root.appending("text-\(index)"), Array(text.joined().utf8))
      }
      let written = try scratch.snapshot()
      try kernel.unmount()

      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      try written.expectSame(as: scratch.snapshot(), names: ("the kernel's", "ours"))
      // Written over in part, cut and punched, and judged by the kernel again.
      try overwrite(scratch)
      let changed = try scratch.snapshot()
      try mounted.unmount()
      try scratch.expectSound()
      let again = try scratch.mountByKernel()
      defer { try? again.unmount() }
      try changed.expectSame(as: scratch.snapshot(), names: ("ours", "the kernel's"))
      try again.unmount()
      try again.expectCleanLog()
    }

    private func overwrite(_ scratch: Scratch) throws {
      var random = SeededRandom(testSeed: 77)
      for index in 1..<30 {
        let path = scratch.root.appending("text-\(index)")
        let descriptor = try check("open") { path.withCPath { open($0, O_RDWR) } }
        defer { close(descriptor) }
        var status = stat()
        try check("fstat") { fstat(descriptor, &status) }
        let size = Int(status.st_size)
        var bytes = [UInt8](repeating: 0, count: 5_000)
        bytes.withUnsafeMutableBytes { random.fillNonZero($0) }
        let offset = random.below(size)
        try check("pwrite") { pwrite(descriptor, bytes, bytes.count, offset) }
        let mode = Linux.fallocatePunchHole | Linux.fallocateKeepSize
        try check("punch") { Linux.fallocate(descriptor, mode, random.below(size), 9_000) }
        if index % 3 == 0 { try check("truncate") { ftruncate(descriptor, random.below(size)) } }
      }
    }

    /// One copy of every metadata block is wiped out; no program notices, and it comes back.
    @Test(.needsRoot, .timeLimit(.minutes(1)))
    func oneBadCopyOfMetadata() throws {
      let scratch = try Scratch()
      try ImageVariant(name: "plain").makeWithKernelTools(scratch.image)
      let kernel = try scratch.mountByKernel()
      defer { try? kernel.unmount() }
      try scratch.work(seed: 51, operations: 500)
      let written = try scratch.snapshot()
      try kernel.unmount()

      let wiped = try firstMetadataStripe(scratch.image)
      let zeros = [UInt8](repeating: 0, count: 1 << 20)
      let descriptor = try check("open") { open(scratch.image, O_RDWR) }
      defer { close(descriptor) }
      let span = 32 << 20
      for offset in stride(from: 0, to: span, by: zeros.count)
      where wiped + offset > 68 << 20
        || wiped + offset + zeros.count < 64 << 20
      {
        try check("pwrite") { pwrite(descriptor, zeros, zeros.count, wiped + offset) }
      }
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      try written.expectSame(as: scratch.snapshot(), names: ("the kernel's", "ours"))
      try mounted.unmount()
      var block = [UInt8](repeating: 0, count: 16384)
      let mended = stride(from: 0, to: span, by: block.count).filter { offset in
        pread(descriptor, &block, block.count, wiped + offset) > 0
          && block.contains { $0 != 0 }
      }
      #expect(!mended.isEmpty, "no bad block was rewritten")
      // Blocks that were not read are still bad in that copy, and are reported; no more than that.
      #expect(try ImageCheck(scratch.image).result.succeeded)
    }

    /// The device address of the first copy of the first DUP metadata chunk.
    private func firstMetadataStripe(_ image: String) throws -> Int {
      let dump = try Shell.run("btrfs", "inspect-internal", "dump-tree", "-t", "chunk", image)
        .orThrow().output.split(separator: "\n")
      let chunk = try #require(dump.firstIndex { $0.contains("type METADATA|DUP") })
      let stripe = try #require(dump[chunk...].first { $0.contains("stripe 0 devid") })
      return try #require(stripe.split(separator: " ").last.flatMap { Int($0) })
    }

    @Test(.needsRoot, .timeLimit(.minutes(2)), arguments: ["128M", "1G", "40G", "16T"])
    func freshImagesOfAnySize(_ size: String) throws {
      let scratch = try Scratch()
      try scratch.make("--size", size, "--label", "a label")
      try scratch.expectSound()
      let kernel = try scratch.mountByKernel()
      defer { try? kernel.unmount() }
      try scratch.work(seed: 61, operations: 200)
      let written = try scratch.snapshot()
      try kernel.unmount()
      try kernel.expectCleanLog()
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      try written.expectSame(as: scratch.snapshot(), names: ("the kernel's", "ours"))
      try mounted.unmount()
    }
  }
}

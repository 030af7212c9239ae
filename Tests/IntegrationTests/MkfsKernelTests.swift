import Glibc
import TestSupport
import Testing

extension MountTests {
  /// New images in the kernel's hands, and the kernel's caches under our inspection.
  @Suite(.timeLimit(.minutes(5))) struct MkfsKernelTests {
    private static let shapes: [[String]] = [
      ["--size", "128M"], ["--size", "128M", "--data", "dup"],
      ["--size", "130M", "--mixed"], ["--size", "1G", "--mixed", "--data", "dup"],
      ["--size", "1G", "--nodesize", "4096", "--csum", "xxhash"],
      ["--size", "1G", "--nodesize", "64K", "--csum", "sha256", "--metadata", "single"],
      ["--size", "3G", "--nodesize", "32K", "--csum", "blake2", "--data", "dup"],
      ["--size", "1G", "--space-cache", "v2"], ["--size", "1G", "--block-group-tree"],
      ["--size", "1G", "--block-group-tree", "--nodesize", "4K"],
      ["--size", "256M", "--block-group-tree", "--mixed"],
      ["--size", "256M", "--mixed", "--space-cache", "v2"],
      ["--size", "1G", "--block-group-tree", "--nodesize", "64K", "--data", "dup"],
      ["--size", "1T"], ["--size", "16T", "--metadata", "single"],
    ]

    /// The kernel mounts it read-write, works on it, and has nothing to say against it.
    @Test(.needsRoot, .timeLimit(.minutes(2)), arguments: shapes)
    func kernelWorksOnIt(_ options: [String]) throws {
      let scratch = try Scratch()
      try FsmountProgram.run(["mkfs", "--label", "tested"] + options + [scratch.image]).orThrow()
      try scratch.expectSound()

      let isV1 = Set(options).isDisjoint(with: ["v2", "--block-group-tree"])
      let mounted = try scratch.mountByKernel(
        isV1 ? "space_cache=v1,noatime" : "space_cache=v2,noatime")
      try scratch.work(seed: 5, operations: 300)
      try Shell.run("btrfs", "subvolume", "snapshot", scratch.mountPoint, scratch.mountPoint + "/s")
        .orThrow()
      let label = try Shell.run("btrfs", "filesystem", "label", scratch.mountPoint).orThrow()
      #expect(label.output == "tested\n")
      let scrub = try Shell.run("btrfs", "scrub", "start", "-B", scratch.mountPoint)
      #expect(scrub.succeeded && scrub.output.contains("no errors found"), "\(scrub.summary)")
      try mounted.unmount()
      try mounted.expectCleanLog()
      try ImageCheck.expectSound(scratch.image)
    }

    /// Caches with extents and bitmaps that the kernel wrote are found valid and exact.
    @Test(.needsRoot, .timeLimit(.minutes(3)))
    func cachesOfTheKernel() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "2G", "--nodesize", "4096")
      let mounted = try scratch.mountByKernel("space_cache=v1,noatime,max_inline=0")
      try fragment(scratch)
      try mounted.unmount()

      let check = try ImageCheck(scratch.image)
      let result = try FsmountProgram.run("cache", "--verify", "--json", scratch.image)
      #expect(result.status == (check.doubtfulCaches.isEmpty ? 0 : 1), "\(result.summary)")
      #expect(result.output.contains("\"cache\": \"valid\""))
      #expect(result.output.contains("\"agrees\": true"))
      let bitmaps = result.output.split(separator: "\n").filter {
        $0.contains("\"bitmaps\": ") && !$0.contains("\"bitmaps\": 0,")
      }
      #expect(!bitmaps.isEmpty, "the kernel made no bitmaps: \(result.output)")

      // The same as text, and every other inspection.
      for command in [
        ["cache"], ["cache", "--entries"], ["inspect", "super"], ["inspect", "chunks"],
        ["inspect", "groups"], ["inspect", "tree", "root"], ["inspect", "tree", "extent"],
        ["inspect", "tree", "fs"], ["inspect", "tree", "csum", "--blocks"],
      ] {
        let result = try FsmountProgram.run(command + [scratch.image])
        #expect(result.succeeded && result.errors.isEmpty, "\(result.summary)")
        #expect(!result.output.contains("damaged"))
        #expect(!result.output.contains("\u{1b}"), "colour in a file")
      }

      // A cache of an older commit is not believed.
      try spoilCacheGeneration(scratch.image)
      let stale = try FsmountProgram.run("cache", scratch.image)
      #expect(stale.status == 1 && stale.output.contains("stale"), "\(stale.summary)")
    }

    /// Thousands of small holes.
    private func fragment(_ scratch: Scratch) throws {
      let bytes = [UInt8](repeating: 7, count: 4096)
      for index in 0..<12_000 {
        try writeFile(scratch.root.appending("\(index)"), bytes)
      }
      try syncFileSystem(scratch.mountPoint)
      for index in stride(from: 0, to: 12_000, by: 2) {
        let path = scratch.root.appending("\(index)")
        try check("unlink \(path)") { path.withCPath { unlink($0) } }
      }
      try syncFileSystem(scratch.mountPoint)
    }

    private func spoilCacheGeneration(_ image: String) throws {
      let descriptor = try check("open \(image)") { open(image, O_RDWR) }
      defer { close(descriptor) }
      var block = [UInt8](repeating: 0, count: 4096)
      try check("pread") { pread(descriptor, &block, 4096, 65536) }
      block[0x22b] ^= 1
      let checksum = NameHash.checksum(Array(block[32...]))
      for index in 0..<4 { block[index] = UInt8((checksum >> (8 * index)) & 0xff) }
      try check("pwrite") { pwrite(descriptor, block, 4096, 65536) }
    }
  }
}

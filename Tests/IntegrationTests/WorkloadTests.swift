import Glibc
import TestSupport
import Testing

extension MountTests {
  @Suite(.timeLimit(.minutes(5))) struct WorkloadTests {
    /// 100,000 operations in all, over seeds, kinds of image and ways of input and output.
    @Test(
      .needsFuse, .timeLimit(.minutes(4)),
      arguments: [
        FsxCase(seed: 1, variant: "plain"),
        FsxCase(seed: 2, variant: "node4k", isDirect: true),
        FsxCase(seed: 3, variant: "mixed"),
        FsxCase(seed: 4, variant: "xxhash", maximumSize: 4 << 20),
        FsxCase(seed: 5, variant: "plain", compression: "compress-force=zstd:3"),
        FsxCase(
          seed: 6, variant: "node4k", isDirect: true, maximumSize: 4 << 20,
          compression: "compress-force=lzo"),
      ])
    func fsx(_ test: FsxCase) throws {
      var options = FsxOptions(seed: TestSeed.of(test.seed))
      options.operations = 25_000
      options.usesDirectIO = test.isDirect
      options.maximumSize = test.maximumSize
      options.isCompressible = !test.compression.isEmpty
      let variant = try #require(ImageVariant.named(test.variant))
      try FsxOnImage(kind: .fsmount, variant: variant, mountOptions: test.compression).run(options)
    }

    struct FsxCase: Sendable, CustomTestStringConvertible {
      var seed: UInt64
      var variant: String
      var isDirect = false
      var maximumSize = 256 << 10
      var compression = ""

      var testDescription: String {
        "seed \(seed), \(variant)\(isDirect ? ", direct" : "") \(compression)"
      }
    }

    @Test(.needsFuse, .timeLimit(.minutes(3)), arguments: ["plain", "mixed"])
    func manyThreads(_ variant: String) throws {
      let scratch = try Scratch()
      try #require(ImageVariant.named(variant)).makeWithFsmount(scratch.image)
      // Frequent commits, so that they meet every kind of work.
      let mounted = try scratch.mount("commit=1")
      defer { try? mounted.unmount() }
      var options = StressWorkload.Options()
      options.threads = 8
      options.seconds = 12
      options.seed = TestSeed.of(5)
      try StressWorkload(directory: scratch.root, options: options).run()
      try mounted.unmount()
      try scratch.expectSound()
    }

    @Test(.needsFuse, .timeLimit(.minutes(2)))
    func demo() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "1G")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      try VerifiedWorkload(directory: scratch.root, seed: TestSeed.of(8), report: { _ in }).run(
        seconds: 2, files: 600)
      let tree = try scratch.snapshot()
      try mounted.unmount()
      try scratch.expectSound()
      let again = try scratch.mount("ro")
      defer { try? again.unmount() }
      try tree.expectSame(as: scratch.snapshot(), names: ("before", "after remounting"))
    }

    /// Large and small files until nothing fits, then everything away, over and over.
    @Test(.needsFuse, .timeLimit(.minutes(4)), arguments: ["plain", "mixed"])
    func fillAndEmpty(_ name: String) throws {
      let scratch = try Scratch()
      var variant = try #require(ImageVariant.named(name))
      variant.size = "256M"
      try variant.makeWithFsmount(scratch.image)
      let mounted = try scratch.mount(lifetime: 200)
      defer { try? mounted.unmount() }
      var counts: [Int] = []
      for round in 0..<3 {
        // Large ones, then smaller and smaller ones into what is left.
        let sizes = [4 << 20, 200_000, 3_000]
        var names: [String] = []
        for size in sizes { names += try fill(scratch, size: size, round: round) }
        counts.append(names.count)
        for name in names.prefix(20) {
          #expect(try scratch.holds(name), "\(name) is lost in a full file system")
        }
        for name in names {
          let path = scratch.root.appending(name)
          try check("unlink \(path) when full") { path.withCPath { unlink($0) } }
        }
        try mounted.sync()
      }
      #expect(counts[2] * 10 > counts[0] * 8, "less and less fits: \(counts)")
      try mounted.unmount()
      try scratch.expectSound()
    }

    private func fill(_ scratch: Scratch, size: Int, round: Int) throws -> [String] {
      var names: [String] = []
      while names.count < 20_000 {
        let name = "fill-\(size)-\(names.count)"
        do {
          try scratch.write(name, seed: UInt64(round * 100_000 + names.count), length: size)
          names.append(name)
        } catch let error as SystemError where error.code == ENOSPC {
          // What could not be written whole goes at once.
          _ = scratch.root.appending(name).withCPath { unlink($0) }
          return names
        }
      }
      return names
    }
  }
}

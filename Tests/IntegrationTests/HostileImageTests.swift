import Glibc
import TestSupport
import Testing

extension MountTests {
  /// Images that are not what they should be: clear words and an error, never a crash, a hang or a
  /// write.
  @Suite(.timeLimit(.minutes(5))) struct HostileImageTests {
    private static let inspections = [
      ["cache"], ["cache", "--verify"], ["inspect", "super"], ["inspect", "chunks"],
      ["inspect", "groups"],
    ]

    /// The mount and every inspection refuse, and leave the image as it was.
    private func expectRefused(
      _ scratch: Scratch, everywhere: Bool = true
    ) throws {
      let before = try scratch.imageDigest()
      expectRefusal(
        try FsmountProgram.run("mount", "-f", scratch.image, scratch.mountPoint, timeout: 30),
        naming: scratch.image, "btrfs", "superblock", "image", "checksum")
      #expect(MountTableEntry.at(scratch.mountPoint) == nil)
      if everywhere {
        for command in Self.inspections {
          expectRefusal(try FsmountProgram.run(command + [scratch.image], timeout: 30))
        }
      }
      let after = try scratch.imageDigest()
      #expect(before == after, "a refused image was written to")
    }

    private func filled() throws -> Scratch {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      try scratch.work(seed: 31, operations: 400)
      for name in ["v", "v/below", "w"] {
        try FsmountProgram.run("subvolume", "create", "\(scratch.mountPoint)/\(name)").orThrow()
      }
      try FsmountProgram.run(
        "subvolume", "snapshot", "\(scratch.mountPoint)/v", "\(scratch.mountPoint)/v/s"
      ).orThrow()
      try mounted.unmount()
      return scratch
    }

    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func empty() throws {
      let scratch = try Scratch()
      try writeFile(BytePath(scratch.image), [])
      try expectRefused(scratch)
      try Shell.run("truncate", "-s", "256M", scratch.image).orThrow()
      try expectRefused(scratch)
    }

    @Test(.needsFuse, .timeLimit(.minutes(1)), arguments: [40_000, 66_000, 1 << 20, 5 << 20])
    func truncated(_ size: Int) throws {
      let scratch = try filled()
      try Shell.run("truncate", "-s", "\(size)", scratch.image).orThrow()
      try expectRefused(scratch, everywhere: false)
    }

    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func otherFileSystem() throws {
      let scratch = try Scratch()
      try Shell.run("truncate", "-s", "128M", scratch.image).orThrow()
      try Shell.run("mkfs.ext4", "-q", "-F", scratch.image).orThrow()
      try expectRefused(scratch)
      // And it is not overwritten unless that is asked for.
      expectRefusal(try FsmountProgram.run("mkfs", scratch.image), naming: "ext", "force")
      try FsmountProgram.run("mkfs", "--force", scratch.image).orThrow()
    }

    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func mkfsKeepsWhatItKnows() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      expectRefusal(try FsmountProgram.run("mkfs", scratch.image), naming: "btrfs", "force")
    }

    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func unknownFeature() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      try patchSuperblock(scratch.image, offset: 0xbc + 5, byte: 1)
      let result = try FsmountProgram.run(
        "mount", "-f", scratch.image, scratch.mountPoint, timeout: 30)
      expectRefusal(result, naming: "0x10000000000", "bit 40", "incompat", "feature")
    }

    /// Sets one byte of the first superblock, and mends its checksum.
    private func patchSuperblock(_ image: String, offset: Int, byte: UInt8) throws {
      let descriptor = try check("open \(image)") { open(image, O_RDWR) }
      defer { close(descriptor) }
      var block = [UInt8](repeating: 0, count: 4096)
      try check("pread") { pread(descriptor, &block, 4096, 65536) }
      block[offset] |= byte
      let checksum = NameHash.checksum(Array(block[32...]))
      for index in 0..<4 { block[index] = UInt8((checksum >> (8 * index)) & 0xff) }
      try check("pwrite") { pwrite(descriptor, block, 4096, 65536) }
    }

    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func damagedSuperblock() throws {
      let scratch = try filled()
      let descriptor = try check("open") { open(scratch.image, O_RDWR) }
      defer { close(descriptor) }
      let noise = [UInt8](repeating: 0xa5, count: 200)
      try check("pwrite") { pwrite(descriptor, noise, 200, 65536 + 0x50) }
      try expectRefused(scratch, everywhere: false)
    }

    /// Noise anywhere in the used part: whatever can still be mounted is walked and worked on, and
    /// answers with errors at worst.
    @Test(.needsFuse, .timeLimit(.minutes(2)), arguments: 1...8 as ClosedRange<UInt64>)
    func randomDamage(_ seed: UInt64) throws {
      let scratch = try filled()
      try damage(scratch.image, seed: seed)
      try expectSurvival(scratch, seed: seed)
    }

    /// Wrong fields and items in tree blocks and superblocks whose checksums are right: what
    /// no program writes by accident.
    @Test(.needsFuse, .timeLimit(.minutes(3)), arguments: 1...4 as ClosedRange<UInt64>)
    func forgedBlocks(_ seed: UInt64) throws {
      let scratch = try filled()
      let forge = try BlockForge(scratch.image)
      try #require(forge.blockCount > 10)
      var random = SeededRandom(testSeed: seed)
      for round in 0..<12 as Range<UInt64> {
        try forge.restore()
        try forge.forge(&random)
        try expectSurvival(scratch, seed: seed * 100 + round)
      }
    }

    /// Every command and a mount that is walked and worked on may refuse, but none crashes or
    /// hangs.
    private func expectSurvival(
      _ scratch: Scratch, seed: UInt64, location: SourceLocation = #_sourceLocation
    ) throws {
      let others = [
        ["inspect", "tree", "1"], ["inspect", "tree", "5"], ["subvolume", "list", "-d"],
        ["subvolume", "list", "-u"], ["subvolume", "show"], ["subvolume", "get-default"],
      ]
      for command in Self.inspections + others {
        let result = try FsmountProgram.run(command + [scratch.image], timeout: 30)
        #expect(
          result.status != nil && !result.wasKilledBySignal, "\(seed): \(result.summary)",
          sourceLocation: location)
      }
      let mounted: FsmountMount
      do {
        mounted = try scratch.mount(lifetime: 60)
      } catch {
        // The status of a process that a signal ended is above 128.
        #expect(!"\(error)".contains("exit 1") || "\(error)".contains("exit 1\n"))
        return
      }
      defer { try? mounted.unmount() }
      walk(scratch.root)
      for command in [["list"], ["list", "-d"], ["show", "-r", "256"]] {
        let words = ["subvolume"] + command + [scratch.mountPoint]
        let result = try FsmountProgram.run(words, timeout: 30)
        #expect(
          result.status != nil && !result.wasKilledBySignal, "\(seed): \(result.summary)",
          sourceLocation: location)
      }
      for index in 0..<20 { try? scratch.write("new-\(index)", seed: seed, length: 20_000) }
      _ = try? FsmountProgram.run("sync", scratch.mountPoint, timeout: 60)
      #expect(
        isRunning(mounted.processID), "\(seed): the daemon has crashed: \(mounted.messages)",
        sourceLocation: location)
      // Its last commit may have failed, and then it says so; but it must end.
      _ = try unmountWhenIdle {
        try FsmountProgram.run("unmount", scratch.mountPoint, timeout: 60)
      }
      #expect(MountTableEntry.at(scratch.mountPoint) == nil, sourceLocation: location)
    }

    private func damage(_ image: String, seed: UInt64) throws {
      var random = SeededRandom(testSeed: seed)
      let descriptor = try check("open \(image)") { open(image, O_RDWR) }
      defer { close(descriptor) }
      var places: [Int] = []
      // Blocks that hold something, the superblocks excepted.
      var block = [UInt8](repeating: 0, count: 4096)
      for offset in stride(from: 1 << 20, to: 64 << 20, by: 4096) {
        let count = pread(descriptor, &block, 4096, offset)
        if count == 4096, block.contains(where: { $0 != 0 }) { places.append(offset) }
      }
      for _ in 0..<random.within(1...40) {
        let place = random.pick(places) + random.below(4000)
        var noise = [UInt8](repeating: 0, count: random.within(1...90))
        noise.withUnsafeMutableBytes { random.fillNonZero($0) }
        try check("pwrite") { pwrite(descriptor, noise, noise.count, place) }
      }
    }

    /// Looks at everything, and takes errors as they come.
    private func walk(_ path: BytePath) {
      var status = stat()
      guard path.withCPath({ lstat($0, &status) }) == 0 else { return }
      _ = try? ExtendedAttributes.names(path)
      switch status.st_mode & S_IFMT {
      case S_IFDIR:
        for name in (try? directoryNames(path)) ?? [] { walk(path.appending(name)) }
      case S_IFREG:
        let descriptor = path.withCPath { open($0, O_RDONLY) }
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        _ = try? FileReader.content(
          of: descriptor, size: min(Int(status.st_size), 1 << 20), path: path)
      default: break
      }
    }
  }
}

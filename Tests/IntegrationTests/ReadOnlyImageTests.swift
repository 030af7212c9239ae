import Glibc
import TestSupport
import Testing

extension MountTests {
  /// Images we do not write to are read, and one line says why.
  @Suite(.timeLimit(.minutes(5))) struct ReadOnlyImageTests {
    /// A power cut after `fsync` leaves a log tree, which we do not replay yet.
    @Test(.needsRoot, .timeLimit(.minutes(1)))
    func logTree() throws {
      let scratch = try Scratch()
      var variant = ImageVariant(name: "plain")
      variant.size = "512M"
      try variant.makeWithKernelTools(scratch.image)
      let cut = try Scratch()
      let kernel = try scratch.mountByKernel(LoopMount.kernelOptions + ",commit=300")
      defer { try? kernel.unmount() }
      try scratch.write("committed", seed: 1, length: 50_000)
      try kernel.sync()
      try scratch.write("logged", seed: 2, length: 50_000)
      try scratch.sync("logged")
      try Shell.run("cp", "--sparse=always", scratch.image, cut.image).orThrow()
      try kernel.unmount()

      let superblock = try Shell.run("btrfs", "inspect-internal", "dump-super", cut.image)
        .orThrow().output
      try #require(!superblock.contains("log_root\t\t0\n"), "the kernel has left no log tree")
      try expectReadOnly(cut, options: "nologreplay", naming: "log tree") {
        let isThere = try cut.holds("committed")
        #expect(isThere)
      }
    }

    /// RAID0 of a single device, which Linux allows.
    @Test(.needsRoot, .timeLimit(.minutes(1)))
    func stripesOfOneDevice() throws {
      let scratch = try Scratch()
      try Shell.run("truncate", "-s", "256M", scratch.image).orThrow()
      try Shell.run(
        "mkfs.btrfs", "-q", "-f", "-R", "^free-space-tree", "-d", "raid0", scratch.image
      ).orThrow()
      let kernel = try scratch.mountByKernel()
      defer { try? kernel.unmount() }
      try scratch.write("file", seed: 5, length: 3_000_000)
      try kernel.unmount()
      try expectReadOnly(scratch, naming: "RAID0") {
        let isThere = try scratch.holds("file")
        #expect(isThere)
      }
    }

    /// Of data with one copy each device has a part; metadata are on both.
    @Test(.needsRoot, .timeLimit(.minutes(1)))
    func oneOfTwoDevices() throws {
      let pair = try DevicePair("-d", "single", "-m", "raid1")
      let names = try pair.populate()
      let held = try pair.images.map { image in
        try heldFiles(of: names, on: image, in: pair)
      }
      let isOnEither = held[0].union(held[1]) == Set(names)
      #expect(isOnEither, "read from one of both: \(held[0].union(held[1]).sorted())")
      #expect(held[0].isDisjoint(with: held[1]))
      #expect(!held[0].isEmpty && !held[1].isEmpty, "\(held)")
    }

    /// Data are striped over both devices: neither has a file.
    @Test(.needsRoot, .timeLimit(.minutes(1)))
    func oneOfTwoStripedDevices() throws {
      let pair = try DevicePair("-d", "raid0", "-m", "raid1")
      let names = try pair.populate()
      for image in pair.images {
        #expect(try heldFiles(of: names, on: image, in: pair).isEmpty)
      }
    }

    /// Mounts one of the devices. What is inline reads right everywhere; each of the files does
    /// so, too, or gives EIO.
    private func heldFiles(
      of names: [String], on image: String, in pair: DevicePair
    ) throws -> Set<String> {
      let scratch = try Scratch(image: image)
      var held: Set<String> = []
      try expectReadOnly(scratch, naming: "one of 2 devices", "other devices") {
        let small = try scratch.holds("small")
        #expect(small)
        for name in names {
          do {
            if try scratch.holds(name) { held.insert(name) }
          } catch let error as SystemError {
            #expect(error.code == EIO, "\(error)")
          }
        }
      }
      for command in [["inspect", "groups"], ["inspect", "chunks"], ["cache", "--verify"]] {
        try FsmountProgram.run(command + [image]).orThrow()
      }
      return held
    }

    /// The mount says that it is read-only, once, and why; refuses changes; and leaves the image
    /// as it is. `words` are in what it says.
    private func expectReadOnly(
      _ scratch: Scratch, options: String = "", naming words: String...,
      examining examine: () throws -> Void
    ) throws {
      let before = try scratch.imageDigest()
      let mounted = try scratch.mount(options)
      defer { try? mounted.unmount() }
      try examine()
      let path = scratch.root.appending("new")
      #expect(outcome { path.withCPath { mkdir($0, 0o755) } } == -Int(EROFS))
      let said = mounted.messages
      for word in words { #expect(said.contains(word), "it says only: \(said)") }
      let reasons = said.split(separator: "\n").filter { $0.contains("read-only") }
      #expect(reasons.count == 1 && reasons[0].contains(words[0]), "it says: \(said)")
      try mounted.unmount()
      let after = try scratch.imageDigest()
      #expect(after == before, "the image was written to")
    }
  }
}

import Glibc
import TestSupport
import Testing

extension MountTests {
  /// Large directories, large files, many links, little memory.
  @Suite(.timeLimit(.minutes(5))) struct LimitTests {
    /// Many files in one directory, and a file far larger than memory, within the smallest cache.
    @Test(.needsFuse, .timeLimit(.minutes(4)))
    func memoryIsBounded() throws {
      var options = ScaleOnImage.Options()
      options.work.files = 60_000
      options.work.perDirectory = 50_000
      options.work.blocks = 3_000
      options.work.seed = TestSeed.of(1)
      options.cacheMebibytes = 16
      try ScaleOnImage(options, report: { _ in }).run()
    }

    /// More snapshots of one subvolume than there is memory for their trees, made by Linux and by the
    /// mount; `exerciser scale --snapshots 10000` by hand.
    @Test(.needsRoot, .timeLimit(.minutes(2)), arguments: [false, true])
    func manySnapshots(areOwn: Bool) throws {
      var options = SnapshotsOnImage.Options()
      options.snapshots = 400
      options.areOwn = areOwn
      options.changed = 60
      options.cacheMebibytes = 16
      try SnapshotsOnImage(options, report: { _ in }).run()
    }

    /// A position in a directory stays good while other names come and go.
    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func directoryPositionsAreStable() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let count = 3_000
      for index in 0..<count {
        try writeFile(scratch.root.appending("a-rather-long-name-for-a-file-\(index)"), [])
      }
      let stream = try #require(opendir(scratch.mountPoint))
      defer { closedir(stream) }
      func next() -> String? {
        guard let entry = readdir(stream) else { return nil }
        return withUnsafePointer(to: &entry.pointee.d_name) {
          String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
        }
      }
      var positions: [(position: Int, name: String)] = []
      while true {
        let position = telldir(stream)
        guard let name = next() else { break }
        positions.append((position, name))
      }
      #expect(positions.count == count + 2)
      #expect(Set(positions.map(\.name)).count == count + 2)
      // Every third name goes, and new ones come; the positions of the others still hold.
      let real = positions.filter { $0.name != "." && $0.name != ".." }
      for (index, entry) in real.enumerated() where index % 3 == 0 {
        try check("unlink") { scratch.root.appending(entry.name).withCPath { unlink($0) } }
      }
      for index in 0..<100 { try writeFile(scratch.root.appending("new-\(index)"), []) }
      var random = SeededRandom(testSeed: 3)
      for _ in 0..<300 {
        let index = random.below(real.count)
        if index % 3 == 0 { continue }
        seekdir(stream, real[index].position)
        let name = next()
        #expect(name == real[index].name)
      }
    }

    /// 65,535 names for one file, and the next is refused.
    @Test(.needsFuse, .timeLimit(.minutes(3)))
    func manyLinks() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "1G", "--nodesize", "4096")
      let mounted = try scratch.mount(lifetime: 170)
      defer { try? mounted.unmount() }
      let file = scratch.root.appending("file")
      try writeFile(file, [1, 2, 3])
      var made = 1
      var result = 0
      while result == 0, made < 70_000 {
        let name = scratch.root.appending("link-\(made)")
        result = outcome {
          file.withCPath { file in name.withCPath { link(file, $0) } }
        }
        if result == 0 { made += 1 }
      }
      #expect(result == -Int(EMLINK))
      #expect(made == 65_535)
      var status = stat()
      try check("stat") { file.withCPath { lstat($0, &status) } }
      #expect(status.st_nlink == 65_535)
      // All but a few go again: so many are slow to check.
      for number in 100..<made {
        let name = scratch.root.appending("link-\(number)")
        try check("unlink \(name)") { name.withCPath { unlink($0) } }
      }
      try mounted.unmount()
      try scratch.expectSound()
    }

    /// Numbers of `df`, as the kernel gives them for the same image.
    @Test(.needsRoot, .timeLimit(.minutes(1)), arguments: ["plain", "dup-data", "mixed"])
    func freeSpaceAsTheKernelReportsIt(_ variant: String) throws {
      let scratch = try Scratch()
      try #require(ImageVariant.named(variant)).makeWithKernelTools(scratch.image)
      func numbers() throws -> statvfs {
        var numbers = statvfs()
        try check("statvfs") { statvfs(scratch.mountPoint, &numbers) }
        return numbers
      }
      let kernel = try scratch.mountByKernel()
      defer { try? kernel.unmount() }
      try scratch.write("file", seed: 1, length: 8 << 20)
      try kernel.sync()
      let theirs = try numbers()
      try kernel.unmount()
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let ours = try numbers()
      #expect(ours.f_blocks == theirs.f_blocks)
      #expect(ours.f_bsize == theirs.f_bsize)
      #expect(ours.f_frsize == theirs.f_frsize)
      #expect(ours.f_namemax == theirs.f_namemax)
      // What is held in reserve is everybody's own choice.
      let tolerance = Int(theirs.f_blocks) / 20
      #expect(abs(Int(ours.f_bfree) - Int(theirs.f_bfree)) < tolerance)
      #expect(abs(Int(ours.f_bavail) - Int(theirs.f_bavail)) < tolerance * 2)
    }
  }
}

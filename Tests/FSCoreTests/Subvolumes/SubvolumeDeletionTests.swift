import Glibc
import TestSupport
import Testing

@testable import FSCore

/// Subvolumes and snapshots that are deleted here, or by Linux and finished here, or the other way
/// round.
@Suite(.timeLimit(.minutes(10))) struct SubvolumeDeletionTests {
  static func populate(_ volume: Volume, _ random: inout SeededRandom, files: Int = 400) throws {
    try volume.makeSubvolume("/p")
    try volume.makeDirectory("/p/d")
    for number in 0..<files {
      let id = try volume.makeFile("/p/d/f\(number)")
      let count = number % 3 == 0 ? 12_000 : 700
      try volume.writeBytes(id, at: 0, random.bytes(1 + random.below(count)))
    }
    try volume.synchronizeAll()
  }

  /// One of the files that `populate` has made and `change` has left.
  static func anyFile(_ volume: Volume, _ path: String) throws -> InodeID {
    for number in 0..<400 {
      if let id = try? volume.find("\(path)/d/f\(number)") { return id }
    }
    throw FilesystemError.notFound
  }

  static func change(_ volume: Volume, _ path: String, _ random: inout SeededRandom) throws {
    for _ in 0..<40 {
      let file = "\(path)/d/f\(random.below(400))"
      guard let id = try? volume.find(file) else { continue }
      if random.below(3) == 0 {
        try volume.remove(file)
      } else {
        try volume.writeBytes(id, at: random.below(20_000), random.bytes(6000))
      }
    }
  }

  /// What is used, once everything is durable and nothing is on its way.
  private func used(_ volume: Volume) throws -> UInt64 {
    for _ in 0..<3 { try volume.synchronizeAll() }
    return volume.space.groups.classes.reduce(0) { $0 + $1.counters.withLock { $0.used } }
  }

  /// A balance that finds a tree gone must know that somebody is about to delete it, also in the
  /// moment before the cleaner is told.
  @Test func deletionsAreKnownBeforehand() throws {
    let fixture = try NamesFixture(nodeSize: 4096)
    let volume = fixture.volume
    let before = try #require(volume.cleaner.quietCount)
    volume.cleaner.beginDeletion()
    #expect(volume.cleaner.quietCount == nil)
    volume.cleaner.endDeletion(of: nil)
    #expect(volume.cleaner.quietCount == before)
    try volume.makeSubvolume("/s")
    let tree = try volume.trees.subvolume(volume.find("/s").tree)
    #expect(!tree.isDoomed)
    try volume.deleteSubvolume("/s")
    #expect(tree.isDoomed)
    #expect(volume.cleaner.wait(seconds: 60))
    #expect(volume.cleaner.quietCount == before + 1)
    try volume.makeSubvolume("/t")
    try volume.namespace.removeDirectory(Array("t".utf8), in: volume.rootDirectory)
    #expect(volume.cleaner.wait(seconds: 60))
    #expect(volume.cleaner.quietCount == before + 2)
    try fixture.unmountAndCheck()
  }

  @Test(arguments: [(4096, false), (16384, false), (4096, true)] as [(UInt64, Bool)])
  func spaceComesBack(nodeSize: UInt64, sourceGoesFirst: Bool) throws {
    let fixture = try NamesFixture(nodeSize: nodeSize)
    let volume = fixture.volume
    var random = SeededRandom(testSeed: 311)
    try volume.makeDirectory("/kept")
    let before = try used(volume)
    try Self.populate(volume, &random)
    var order = ["/p"]
    for round in 0..<5 {
      try volume.makeSnapshot(of: round == 3 ? "/s1" : "/p", "/s\(round)", isReadOnly: round == 2)
      order.append("/s\(round)")
      try Self.change(volume, "/p", &random)
      if round == 1 { try Self.change(volume, "/s1", &random) }
    }
    if !sourceGoesFirst { random.shuffle(&order) }
    for (number, path) in order.enumerated() {
      let rest = order[(number + 1)...]
      let lines = try rest.map { try volume.stateLines(below: $0) }
      try volume.deleteSubvolume(path)
      #expect(errorNumber { try volume.find(path) } == ENOENT)
      #expect(volume.cleaner.wait(seconds: 60))
      #expect(try rest.map { try volume.stateLines(below: $0) } == lines)
      try volume.synchronizeAll()
      #expect(volume.brokenInvariants() == [])
      for path in rest where path != "/s2" { try Self.change(volume, path, &random) }
    }
    #expect(try used(volume) <= before + 16 * nodeSize)
    #expect(try volume.trees.deletedSubvolumes() == [])
    #expect(try volume.trees.subvolumeIDs() == [.topLevel])
    try fixture.unmountAndCheck()
  }

  /// Directories of a deleted subvolume that somebody holds: as on Linux its root directory has no names
  /// any more and gets none, while the others keep theirs.
  @Test func heldDirectories() throws {
    let fixture = try NamesFixture()
    let volume = fixture.volume
    let names = volume.namespace
    let root = try volume.makeSubvolume("/p")
    let directory = try volume.makeDirectory("/p/d")
    let file = try volume.makeFile("/p/f")
    try volume.makeFile("/p/d/f")
    for id in [root, directory, file] { try names.open(id) }
    try volume.deleteSubvolume("/p")

    let name = Array("new".utf8)
    #expect(errorNumber { try volume.file("new", in: root) } == ENOENT)
    #expect(errorNumber { try volume.directory("new", in: root) } == ENOENT)
    #expect(
      errorNumber {
        try names.makeSymbolicLink(name, in: root, target: name, Volume.testOwner)
      } == ENOENT)
    #expect(errorNumber { try names.link(file, name, in: root) } == ENOENT)
    #expect(errorNumber { try names.rename("f", in: root, to: "new", in: root) } == ENOENT)
    #expect(errorNumber { try names.rename("f", in: directory, to: "new", in: root) } == ENOENT)
    #expect(errorNumber { try names.unlink(Array("f".utf8), in: root) } == ENOENT)
    #expect(errorNumber { try names.removeDirectory(Array("d".utf8), in: root) } == ENOENT)
    #expect(errorNumber { try volume.id("f", in: root) } == ENOENT)
    #expect(errorNumber { try volume.names(root) } == ENOENT)
    #expect(try volume.item(root).linkCount == 1)

    try volume.file("new", in: directory)
    #expect(try volume.names(directory) == ["f", "new"])
    try volume.writeBytes(file, at: 0, [1, 2, 3])
    #expect(try volume.readBytes(file, at: 0, count: 3) == [1, 2, 3])
    for id in [root, directory, file] { names.release(id) }
    #expect(volume.cleaner.wait(seconds: 60))
    try fixture.unmountAndCheck()
  }

  @Test func refusals() throws {
    let fixture = try NamesFixture()
    let volume = fixture.volume
    try volume.makeSubvolume("/p")
    try volume.makeSubvolume("/p/n")
    try volume.makeDirectory("/d")
    try volume.makeSnapshot(of: "/p", "/s")
    #expect(errorNumber { try volume.deleteSubvolume("/p") } == ENOTEMPTY)
    #expect(errorNumber { try volume.deleteSubvolume("/d") } == EINVAL)
    try volume.makeFile("/file")
    #expect(errorNumber { try volume.deleteSubvolume("/file") } == ENOTDIR)
    #expect(errorNumber { try volume.deleteSubvolume("/s/n") } == EINVAL)
    #expect(errorNumber { try volume.deleteSubvolume("/none") } == ENOENT)
    #expect(
      errorNumber { try volume.namespace.removeDirectory(Array("p".utf8), in: fixture.root) }
        == ENOTEMPTY)
    let n = try volume.find("/p/n")
    try volume.subvolumes.setDefault(n.tree)
    #expect(errorNumber { try volume.deleteSubvolume("/p/n") } == EPERM)
    #expect(
      errorNumber {
        try volume.namespace.removeDirectory(Array("n".utf8), in: volume.find("/p"))
      } == EPERM)
    try volume.subvolumes.setDefault(.topLevel)
    #expect(errorNumber { try volume.subvolumes.setDefault(999) } == ENOENT)
    // An empty one goes as a directory does.
    try volume.namespace.removeDirectory(Array("n".utf8), in: volume.find("/p"))
    try volume.subvolumes.setReadOnly(true, of: volume.find("/s"))
    #expect(errorNumber { try volume.makeFile("/s/f") } == EROFS)
    #expect(errorNumber { try volume.makeSubvolume("/s/f") } == EROFS)
    #expect(errorNumber { try volume.makeSnapshot(of: "/p", "/s/f") } == EROFS)
    try volume.subvolumes.setReadOnly(false, of: volume.find("/s"))
    try volume.makeFile("/s/f")
    try volume.deleteSubvolume("/p")
    try volume.deleteSubvolume("/s")
    #expect(volume.cleaner.wait(seconds: 20))
    try fixture.unmountAndCheck()
  }

  /// What is open stays until it is closed.
  @Test func openFilesStay() throws {
    let fixture = try NamesFixture()
    let volume = fixture.volume
    var random = SeededRandom(testSeed: 312)
    try Self.populate(volume, &random, files: 50)
    let id = try volume.find("/p/d/f7")
    try volume.namespace.open(id, forWriting: true)
    try volume.deleteSubvolume("/p")
    #expect(!volume.cleaner.wait(seconds: 0.3))
    let bytes = random.bytes(100_000)
    try volume.writeBytes(id, at: 0, bytes)
    try volume.synchronizeAll()
    #expect(try volume.readBytes(id, at: 0, count: 100_000) == bytes)
    #expect(
      errorNumber { try volume.subvolumes.create([65], in: volume.find("/p/d"), Volume.testOwner) }
        != 0)
    volume.namespace.release(id)
    #expect(volume.cleaner.wait(seconds: 20))
    #expect(errorNumber { try volume.readBytes(id, at: 0, count: 10) } != 0)
    try fixture.unmountAndCheck()
  }

  private struct Stopped {
    let image: String
    let directory: TemporaryDirectory
    let kept: String
    let lines: [String]
    let isInTheMidst: Bool
  }

  /// An image with a subvolume that is deleted, and taken apart so far, by steps of the test's own.
  private func makeStopped(
    _ nodeSize: UInt64, _ round: Int, _ random: inout SeededRandom
  ) throws -> Stopped {
    let fixture = try NamesFixture(nodeSize: nodeSize)
    let volume = fixture.volume
    try Self.populate(volume, &random, files: 400)
    try volume.makeSnapshot(of: "/p", "/s")
    try Self.change(volume, "/p", &random)
    try Self.change(volume, "/s", &random)
    try volume.synchronizeAll()
    let (victim, kept) = round % 2 == 0 ? ("/p", "/s") : ("/s", "/p")
    let lines = try volume.stateLines(below: kept)
    let id = try volume.find(victim).tree
    volume.cleaner.stop()
    try volume.deleteSubvolume(victim)
    #expect(volume.inodes.retire(id) { volume.files.flush($0) })
    try volume.transactions.performAlone(reserving: 1) { (handle) throws(FilesystemError) in
      try volume.trees.detach(id, in: handle)
    }
    var dropper = try TreeDropper(id, trees: volume.trees, references: volume.references)
    for _ in 0..<(1 + random.below(25)) where !dropper.isDone {
      try volume.transactions.perform(reserving: 40) { (handle) throws(FilesystemError) in
        try dropper.step(atMost: 20, in: handle)
      }
    }
    try volume.unmount()
    try ImageCheck.expectSound(fixture.image)
    return Stopped(
      image: fixture.image, directory: fixture.directory, kept: kept, lines: lines,
      isInTheMidst: !dropper.isDone)
  }

  /// Stopped at any moment, a deletion is gone on with: by us, and by Linux.
  @Test(arguments: [4096, 16384] as [UInt64]) func stoppedDeletions(nodeSize: UInt64) throws {
    var random = SeededRandom(testSeed: 313)
    var inTheMidst = 0
    for round in 0..<8 {
      let stopped = try makeStopped(nodeSize, round, &random)
      if stopped.isInTheMidst { inTheMidst += 1 }
      if round >= 4, isRoot {
        let mount = try LoopMount(
          stopped.image, at: stopped.directory.file("mount"), options: "noatime")
        try Shell.run("btrfs", "subvolume", "sync", mount.directory, timeout: 100).orThrow()
        try mount.unmount()
        try mount.expectCleanLog()
        try ImageCheck.expectSound(stopped.image)
      }
      let again = try NamesFixture(image: stopped.image, directory: stopped.directory)
      #expect(again.volume.cleaner.wait(seconds: 60))
      #expect(try again.volume.stateLines(below: stopped.kept) == stopped.lines)
      #expect(try again.volume.trees.deletedSubvolumes() == [])
      try again.unmountAndCheck()
    }
    #expect(inTheMidst > 2)
  }

  /// What Linux has deleted, or begun to take apart, is finished here.
  @Test(.enabled(if: isRoot)) func linuxsDeletions() throws {
    let directory = try TemporaryDirectory(inMemory: true)
    let image = directory.file("image")
    try Shell.run("truncate", "-s", "512M", image).orThrow()
    try Shell.run("mkfs.btrfs", "-q", "-n", "4096", image).orThrow()
    let mount = try LoopMount(image, at: directory.file("mount"), options: "noatime")
    let script = """
      cd "$1"; btrfs -q subvolume create p
      for i in $(seq 3000); do echo $i > p/f$i; done
      for i in $(seq 200); do head -c 9000 /dev/urandom > p/g$i; done
      btrfs -q subvolume snapshot p s; btrfs -q subvolume snapshot -r p r
      for i in $(seq 1 7 3000); do echo new > p/f$i; echo new > s/f$i; done
      sync; btrfs -q subvolume delete p; btrfs -q subvolume delete r; sync
      """
    try Shell.run("bash", "-c", script, "bash", mount.directory, timeout: 200).orThrow()
    let copy = directory.file("copy")
    try Shell.run("cp", "--sparse=always", image, copy).orThrow()
    try mount.unmount()
    let fixture = try NamesFixture(image: copy, directory: directory)
    #expect(fixture.volume.cleaner.wait(seconds: 60))
    #expect(try fixture.volume.trees.deletedSubvolumes() == [])
    #expect(try fixture.volume.names(fixture.volume.find("/s")).count == 3200)
    try fixture.unmountAndCheck()
  }
}

import Glibc
import TestSupport
import Testing

@testable import FSCore

/// Many more subvolumes than the memory has room for.
@Suite(
  .enabled(if: isRoot, "SKIPPED: needs root, for loop mounts by the kernel"),
  .timeLimit(.minutes(2)))
struct ManySubvolumesTests {
  private static let count = 400

  private func makeImage() throws -> NamesFixture {
    let directory = try TemporaryDirectory(inMemory: true)
    let image = directory.file("image")
    try Shell.run("truncate", "-s", "1G", image).orThrow()
    try Shell.run("mkfs.btrfs", "-q", "-R", "^free-space-tree", image).orThrow()
    let mount = try LoopMount(image, at: directory.file("mount"))
    try makeSubvolumes(Self.count, in: mount.directory)
    try mount.unmount()
    return try NamesFixture(image: image, directory: directory)
  }

  @Test func unusedTreesGo() throws {
    let fixture = try makeImage()
    try fixture.remount { $0.cacheBytes = 8 << 20 }
    let (volume, root) = (fixture.volume, fixture.root)
    let share = volume.memory.trees
    let comfortable = volume.trees.comfortableCount
    #expect(comfortable < 32)

    var numbers: [ObjectID] = []
    for number in 0..<Self.count {
      let subvolume = try volume.id("s\(number)", in: root)
      let file = try volume.file("first", in: subvolume)
      try volume.writeBytes(file, at: 0, [1, 2, 3])
      numbers.append(file.number)
      try volume.namespace.unlink(Array("first".utf8), in: subvolume)
      if number % 10 == 9 { try volume.synchronizeAll() }
      // What was changed since the last commit stays till the next.
      #expect(volume.trees.openSubvolumes <= comfortable * 2 + 20)
      #expect(volume.inodes.subvolumeCount <= comfortable * 2 + 20)
    }
    #expect(share.used <= 2 * share.limit + (1 << 20))

    // A number is given out once, also when the subvolume has been away meanwhile.
    for number in 0..<Self.count {
      let subvolume = try volume.id("s\(number)", in: root)
      let file = try volume.file("second", in: subvolume)
      #expect(file.number > numbers[number])
      try volume.writeBytes(file, at: 0, [UInt8(truncatingIfNeeded: number)])
      if number % 10 == 9 { try volume.synchronizeAll() }
    }
    try fixture.remount { $0.cacheBytes = 8 << 20 }
    for number in 0..<Self.count {
      let subvolume = try fixture.volume.id("s\(number)", in: fixture.root)
      let file = try fixture.volume.id("second", in: subvolume)
      let bytes = try fixture.volume.readBytes(file, at: 0, count: 10)
      #expect(bytes == [UInt8(truncatingIfNeeded: number)])
    }
    try fixture.unmountAndCheck()
  }

  /// What somebody has in hand stays one object, whatever else is opened.
  @Test func usedTreesStay() throws {
    let fixture = try makeImage()
    try fixture.remount { $0.cacheBytes = 8 << 20 }
    let (volume, root) = (fixture.volume, fixture.root)
    let ids = try (0..<Self.count).map { try volume.id("s\($0)", in: root) }
    let held = try ids.prefix(100).map { try volume.inodes.inode($0) }
    for id in ids + ids { _ = try volume.inodes.inode(id) }
    for inode in held {
      #expect(try volume.inodes.inode(inode.id) === inode)
      #expect(try volume.inodes.subvolume(inode.id.tree) === inode.subvolume)
      #expect(try volume.trees.subvolume(inode.id.tree) === inode.tree)
    }
    try fixture.unmountAndCheck()
  }

  /// Threads come back to subvolumes that others have just let go.
  @Test func threadsShareOneTreeOfEach() throws {
    let fixture = try makeImage()
    try fixture.remount { $0.cacheBytes = 8 << 20 }
    let (volume, root) = (fixture.volume, fixture.root)
    try onThreads(4) { thread in
      var random = SeededRandom(testSeed: UInt64(thread + 1))
      for step in 0..<300 {
        let subvolume = try volume.id("s\(random.below(60))", in: root)
        try volume.file("f\(thread)-\(step)", in: subvolume)
        if step % 40 == 39 { try volume.synchronizeAll() }
      }
    }
    var found = 0
    for number in 0..<60 {
      found += try volume.names(volume.id("s\(number)", in: root)).count
    }
    #expect(found == 4 * 300)
    try fixture.unmountAndCheck()
  }
}

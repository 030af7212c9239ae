import Glibc
import TestSupport
import Testing

@testable import FSCore

/// Subvolumes and snapshots that the kernel made.
@Suite(
  .enabled(if: isRoot, "SKIPPED: needs root, for loop mounts by the kernel"),
  .timeLimit(.minutes(10)))
struct NamesSubvolumeTests {
  /// An image with subvolumes: `P` with `P/X` in it, `S`, a snapshot of `P`, `R`, a read-only one,
  /// and `T`.
  private func makeImage() throws -> NamesFixture {
    let directory = try TemporaryDirectory(inMemory: true)
    let image = directory.file("image")
    try Shell.run("truncate", "-s", "512M", image).orThrow()
    try Shell.run("mkfs.btrfs", "-q", "-R", "^free-space-tree", image).orThrow()
    let mount = try LoopMount(image, at: directory.file("mount"))
    let root = mount.directory
    for command in [
      ["subvolume", "create", "P"], ["subvolume", "create", "P/X"], ["subvolume", "create", "T"],
    ] { try btrfs(command, in: root) }
    for path in ["P/d", "e", "T/d"] { try check("mkdir") { mkdir("\(root)/\(path)", 0o755) } }
    for path in ["P/f", "P/X/g", "T/h"] { try Shell.run("touch", "\(root)/\(path)").orThrow() }
    try btrfs(["subvolume", "snapshot", "P", "S"], in: root)
    try btrfs(["subvolume", "snapshot", "-r", "P", "R"], in: root)
    try mount.unmount()
    return try NamesFixture(image: image, directory: directory)
  }

  private func btrfs(_ arguments: [String], in root: String) throws {
    let paths = arguments.map { $0.first?.isUppercase == true ? "\(root)/\($0)" : $0 }
    try Shell.run(["btrfs"] + paths).orThrow()
  }

  @Test func subvolumesAreDirectories() throws {
    let fixture = try makeImage()
    let (volume, root) = (fixture.volume, fixture.root)
    let p = try volume.id("P", in: root)
    #expect(p.number == .firstFree && p.tree != root.tree)
    let x = try volume.id("X", in: p)
    #expect(try volume.id("..", in: x) == p && volume.id("..", in: p) == root)
    #expect(try volume.names(x) == ["g"])

    // In the snapshot the nested one is an empty directory, a stub.
    let s = try volume.id("S", in: root)
    let stub = try volume.namespace.lookup(Array("X".utf8), in: s)
    #expect(stub.id.number.isStub && stub.id.tree == s.tree && stub.item.mode == 0o040755)
    #expect(try stub.item.atime == volume.item(s).atime && stub.item.linkCount == 1)
    #expect(try volume.names(stub.id).isEmpty)
    #expect(errorNumber { try volume.file("a", in: stub.id) } == EACCES)
    #expect(errorNumber { try volume.directory("a", in: stub.id) } == EPERM)
    #expect(errorNumber { try volume.namespace.rename("f", in: s, to: "a", in: stub.id) } == EPERM)
    #expect(errorNumber { try volume.namespace.rename("X", in: s, to: "Y", in: s) } == ENOTEMPTY)
    #expect(
      errorNumber { try volume.attributes.setAttribute(stub.id, Array("user.a".utf8), []) }
        == EOPNOTSUPP)
    try volume.namespace.rename("d", in: s, to: "X", in: s)
    #expect(try !volume.id("X", in: s).number.isStub)

    // What is in one cannot leave it, but by its own name.
    let f = try volume.id("f", in: p)
    #expect(errorNumber { try volume.namespace.rename("f", in: p, to: "f", in: root) } == EXDEV)
    #expect(errorNumber { try volume.namespace.link(f, Array("f".utf8), in: root) } == EXDEV)
    #expect(
      errorNumber { try volume.namespace.removeDirectory(Array("P".utf8), in: root) } == ENOTEMPTY)
    #expect(errorNumber { try volume.namespace.unlink(Array("P".utf8), in: root) } == EISDIR)
    #expect(errorNumber { try volume.namespace.rename("P", in: root, to: "P", in: x) } == EINVAL)

    let r = try volume.id("R", in: root)
    #expect(errorNumber { try volume.file("new", in: r) } == EROFS)
    #expect(errorNumber { try volume.namespace.unlink(Array("f".utf8), in: r) } == EROFS)
    #expect(errorNumber { try volume.attributes.setAttributes(r, AttributeChanges()) } == EROFS)

    // Writing one side of what they share.
    for number in 0..<500 { try volume.file("in p \(number)", in: p) }
    for number in 0..<500 { try volume.file("in s \(number)", in: s) }
    try volume.namespace.unlink(Array("f".utf8), in: s)
    #expect(try volume.names(r).sorted() == ["X", "d", "f"])
    try fixture.unmountAndCheck()
  }

  /// The stubs of one missing subvolume in several snapshots, and in several places of one, are
  /// directories of their own, each with the owner of the directory around it.
  @Test func stubsAreDirectoriesOfTheirOwn() throws {
    let fixture = try makeImage()
    let (volume, root) = (fixture.volume, fixture.root)
    let (p, s) = (try volume.id("P", in: root), try volume.id("S", in: root))
    let x = try volume.id("X", in: p)
    // `S` has a stub of X and X itself; its snapshot has two stubs of X.
    try volume.namespace.rename("X", in: p, to: "moved", in: s)
    func setOwner(_ directory: InodeID, _ uid: UInt32) throws {
      var changes = AttributeChanges()
      changes.uid = uid
      _ = try volume.attributes.setAttributes(directory, changes)
    }
    try setOwner(s, 7)
    let s2 = try volume.subvolumes.snapshot(
      of: s, Array("S2".utf8), in: root, isReadOnly: false
    ).id
    try setOwner(s2, 9)
    let r = try volume.id("R", in: root)

    let places = [("X", s), ("X", s2), ("moved", s2), ("X", r)]
    let stubs = try places.map { try volume.id($0.0, in: $0.1) }
    #expect(try volume.id("moved", in: s) == x)
    #expect(Set(stubs).count == 4 && stubs.allSatisfy { $0.number.isStub })
    for ((name, directory), stub) in zip(places, stubs) {
      #expect(try volume.id(name, in: directory) == stub && stub.tree == directory.tree)
      #expect(try volume.item(stub).uid == volume.item(directory).uid)
      #expect(try volume.id("..", in: stub) == directory)
    }
    #expect(
      errorNumber { try volume.namespace.rename("X", in: s2, to: "Y", in: root) } == EXDEV)
    #expect(
      errorNumber {
        try volume.namespace.rename("X", in: s2, to: "moved", in: s2, flags: .exchange)
      } == ENOTEMPTY)

    // On Linux they take their owner from the directory at each look.
    try setOwner(s, 11)
    #expect(try volume.attributes.attributes(of: stubs[0]).item.uid == 11)

    // One goes; the other stays what it was.
    try volume.namespace.removeDirectory(Array("X".utf8), in: s2)
    #expect(errorNumber { try volume.id("X", in: s2) } == ENOENT)
    #expect(try volume.id("moved", in: s2) == stubs[2])
    try fixture.unmountAndCheck()
  }

  @Test func subvolumesMove() throws {
    let fixture = try makeImage()
    let root = fixture.root
    do {
      let volume = fixture.volume
      let (p, e) = (try volume.id("P", in: root), try volume.id("e", in: root))
      let t = try volume.id("T", in: root)
      try volume.namespace.rename("R", in: root, to: "R2", in: root)
      try volume.namespace.rename("P", in: root, to: "P2", in: e)
      #expect(try volume.id("..", in: p) == e && volume.id("P2", in: e) == p)
      // Into another subvolume, over an empty directory there.
      let h = try volume.id("d", in: t)
      try volume.namespace.rename("S", in: root, to: "d", in: t)
      #expect(errorNumber { try volume.attributes.attributes(of: h) } == ESTALE)
      // One for another, in different subvolumes; one for a directory, in the same.
      try volume.namespace.rename("P2", in: e, to: "d", in: t, flags: .exchange)
      #expect(try volume.id("d", in: t) == p && volume.id("..", in: p) == t)
      try volume.file("plain", in: root)
      try volume.namespace.rename("R2", in: root, to: "plain", in: root, flags: .exchange)
      // A read-only one stays in its directory; others do not change places with what is no subvolume.
      for (name, directory, code) in [("plain", root, EROFS), ("P2", e, EXDEV)] {
        #expect(
          errorNumber {
            try volume.namespace.rename(name, in: directory, to: "h", in: t, flags: .exchange)
          } == code)
      }
      #expect(
        errorNumber { try volume.namespace.rename("e", in: root, to: "T", in: root) } == ENOTEMPTY)
    }
    let before = try fixture.volume.stateLines()
    try fixture.remount()
    #expect(try fixture.volume.stateLines() == before)
    try fixture.unmountAndCheck()

    let mount = try LoopMount(fixture.image, at: fixture.directory.file("mount"))
    let list = try Shell.run("btrfs", "subvolume", "list", mount.directory).orThrow().output
    let paths = list.split(separator: "\n").map { $0.split(separator: " ").last! }.sorted()
    #expect(paths == ["T", "T/d", "T/d/X", "e/P2", "plain"])
    try Shell.run("touch", "\(mount.directory)/T/d/X/made").orThrow()
    try mount.unmount()
    try mount.expectCleanLog()
  }

  /// Files that were open when the kernel's image was copied are deleted when we mount it.
  @Test func orphansOfTheKernel() throws {
    let directory = try TemporaryDirectory(inMemory: true)
    let image = directory.file("image")
    try Shell.run("truncate", "-s", "512M", image).orThrow()
    try Shell.run("mkfs.btrfs", "-q", "-R", "^free-space-tree", image).orThrow()
    let mount = try LoopMount(image, at: directory.file("mount"))
    try btrfs(["subvolume", "create", "V"], in: mount.directory)
    var descriptors: [Int32] = []
    for number in 0..<20 {
      let path = mount.directory + (number % 2 == 0 ? "/" : "/V/") + "f\(number)"
      let descriptor = open(path, O_RDWR | O_CREAT, 0o600)
      #expect(descriptor >= 0)
      ftruncate(descriptor, 100_000)
      #expect(write(descriptor, "some bytes", 10) == 10)
      descriptors.append(descriptor)
      unlink(path)
    }
    try mount.sync()
    let copy = directory.file("copy")
    try Shell.run("cp", "--sparse=always", image, copy).orThrow()
    for descriptor in descriptors { close(descriptor) }
    try mount.unmount()

    let fixture = try NamesFixture(image: copy, directory: directory)
    let v = try fixture.volume.id("V", in: fixture.root)
    for tree in [TreeID.topLevel, v.tree] {
      let subvolume = try fixture.volume.trees.subvolume(tree)
      #expect(try OrphanItems.list(in: subvolume, from: 0, limit: 100).isEmpty)
    }
    #expect(try fixture.volume.names(v).isEmpty)
    try fixture.unmountAndCheck()
  }
}

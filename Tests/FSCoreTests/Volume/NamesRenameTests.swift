import Glibc
import TestSupport
import Testing

@testable import FSCore

@Suite(.timeLimit(.minutes(10))) struct NamesRenameTests {
  @Test func replacesExchangesAndRefuses() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let a = try volume.file("a", in: root)
    let b = try volume.file("b", in: root)
    let d = try volume.directory("d", in: root)
    let e = try volume.directory("e", in: root)

    #expect(
      errorNumber { try volume.namespace.rename("none", in: root, to: "x", in: root) } == ENOENT)
    #expect(
      errorNumber {
        try volume.namespace.rename("a", in: root, to: "b", in: root, flags: .noReplace)
      }
        == EEXIST)
    #expect(
      errorNumber {
        try volume.namespace.rename("a", in: root, to: "x", in: root, flags: .exchange)
      }
        == ENOENT)
    #expect(
      errorNumber {
        try volume.namespace.rename(
          "a", in: root, to: "b", in: root, flags: [.exchange, .noReplace])
      } == EINVAL)
    #expect(errorNumber { try volume.namespace.rename("a", in: root, to: "d", in: root) } == EISDIR)
    #expect(
      errorNumber { try volume.namespace.rename("d", in: root, to: "a", in: root) } == ENOTDIR)
    #expect(errorNumber { try volume.namespace.rename(".", in: root, to: "x", in: root) } == EBUSY)
    #expect(errorNumber { try volume.namespace.rename("a", in: root, to: "..", in: root) } == EBUSY)

    try volume.namespace.rename("a", in: root, to: "b", in: root)
    #expect(try volume.id("b", in: root) == a)
    #expect(errorNumber { try volume.attributes.attributes(of: b) } == ESTALE)

    try volume.namespace.rename("b", in: root, to: "d", in: root, flags: .exchange)
    #expect(try volume.id("d", in: root) == a)
    #expect(try volume.id("b", in: root) == d)

    try volume.file("inner", in: e)
    #expect(
      errorNumber { try volume.namespace.rename("b", in: root, to: "e", in: root) } == ENOTEMPTY)
    try volume.namespace.unlink(Array("inner".utf8), in: e)
    try volume.namespace.rename("b", in: root, to: "e", in: root)
    #expect(try volume.id("e", in: root) == d)
    #expect(try volume.item(root).size == 4)
    try fixture.unmountAndCheck()
  }

  @Test func leavesWhiteouts() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let a = try volume.file("a", in: root)
    let d = try volume.directory("d", in: root)
    let inner = try volume.directory("inner", in: d)
    let replaced = try volume.file("replaced", in: root)
    func expectWhiteout(_ name: String, in directory: InodeID) throws {
      let item = try volume.item(volume.id(name, in: directory))
      #expect(item.mode == 0o020000 && item.rdev == 0 && item.linkCount == 1)
    }

    for others: RenameFlags in [.exchange, [.exchange, .noReplace]] {
      let flags = others.union(.whiteout)
      #expect(
        errorNumber { try volume.namespace.rename("a", in: root, to: "d", in: root, flags: flags) }
          == EINVAL)
    }
    let kept: RenameFlags = [.whiteout, .noReplace]
    #expect(
      errorNumber { try volume.namespace.rename("a", in: root, to: "d", in: root, flags: kept) }
        == EEXIST)

    // Within a directory, into another, and over another file.
    try volume.namespace.rename("a", in: root, to: "b", in: root, flags: kept)
    #expect(try volume.id("b", in: root) == a)
    try expectWhiteout("a", in: root)
    try volume.namespace.rename("inner", in: d, to: "outer", in: root, flags: .whiteout)
    #expect(try volume.id("outer", in: root) == inner)
    try expectWhiteout("inner", in: d)
    try volume.namespace.rename("b", in: root, to: "replaced", in: root, flags: .whiteout)
    #expect(try volume.id("replaced", in: root) == a)
    #expect(errorNumber { try volume.attributes.attributes(of: replaced) } == ESTALE)
    try expectWhiteout("b", in: root)

    #expect(try volume.names(root) == ["d", "a", "outer", "replaced", "b"])
    #expect(try volume.item(root).size == 2 * (1 + 1 + 5 + 8 + 1))
    try volume.namespace.rename("a", in: root, to: "c", in: d)
    try volume.namespace.unlink(Array("inner".utf8), in: d)
    try fixture.unmountAndCheck()
  }

  @Test func directoriesDoNotGoIntoThemselves() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let a = try volume.directory("a", in: root)
    let b = try volume.directory("b", in: a)
    let c = try volume.directory("c", in: b)
    #expect(errorNumber { try volume.namespace.rename("a", in: root, to: "x", in: c) } == EINVAL)
    #expect(errorNumber { try volume.namespace.rename("c", in: b, to: "a", in: root) } == ENOTEMPTY)
    #expect(
      errorNumber { try volume.namespace.rename("c", in: b, to: "a", in: root, flags: .exchange) }
        == EINVAL)
    #expect(
      errorNumber { try volume.namespace.rename("a", in: root, to: "c", in: b, flags: .exchange) }
        == EINVAL)

    try volume.namespace.rename("b", in: a, to: "b", in: root)
    #expect(try volume.id("..", in: b) == root)
    try volume.namespace.rename("a", in: root, to: "a", in: c)
    #expect(try volume.id("..", in: a) == c)
    try fixture.remount()
    #expect(try fixture.volume.id("..", in: a) == c)
    try fixture.unmountAndCheck()
  }

  /// Two names of one inode: nothing happens.
  @Test func renamingOntoItself() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let file = try volume.file("a", in: root)
    _ = try volume.namespace.link(file, Array("b".utf8), in: root)
    try volume.namespace.rename("a", in: root, to: "b", in: root)
    try volume.namespace.rename("a", in: root, to: "a", in: root)
    try volume.namespace.rename("a", in: root, to: "b", in: root, flags: .exchange)
    #expect(try volume.names(root) == ["a", "b"])
    #expect(try volume.item(file).linkCount == 2)
    try fixture.unmountAndCheck()
  }

  @Test func timesOfARename() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let from = try volume.directory("from", in: root)
    let to = try volume.directory("to", in: root)
    let moved = try volume.directory("moved", in: from)
    let old = Timestamp(seconds: 1, nanoseconds: 2)
    var changes = AttributeChanges()
    (changes.atime, changes.mtime) = (.set(old), .set(old))
    for id in [from, to, moved] {
      changes.ctime = old
      _ = try volume.attributes.setAttributes(id, changes)
    }
    try volume.namespace.rename("moved", in: from, to: "moved", in: to)
    #expect(try volume.item(from).mtime > old && volume.item(from).ctime > old)
    #expect(try volume.item(to).mtime > old && volume.item(to).ctime > old)
    #expect(try volume.item(moved).mtime == old && volume.item(moved).ctime > old)
    try fixture.unmountAndCheck()
  }

  /// Random operations on a few names against a model that is a dictionary.
  @Test(arguments: [1, 2, 3, 4, 5, 6])
  func againstAModel(seed: UInt64) throws {
    print("names against a model: seed \(seed)")
    let fixture = try NamesFixture(nodeSize: seed % 2 == 0 ? 4096 : nil)
    var random = SeededRandom(testSeed: seed)
    var model = NamesModel(root: fixture.root)
    for step in 1...3000 {
      try model.step(fixture.volume, &random)
      if step % 1000 == 0 {
        try model.compare(fixture.volume)
        try fixture.remount()
        try model.compare(fixture.volume)
      }
    }
    try fixture.unmountAndCheck()
  }
}

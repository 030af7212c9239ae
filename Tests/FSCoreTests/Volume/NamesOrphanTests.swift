import Glibc
import Testing

@testable import FSCore

/// What has lost its last name and still exists.
@Suite(.timeLimit(.minutes(10))) struct NamesOrphanTests {
  private func orphans(_ volume: Volume) throws -> [ObjectID] {
    try OrphanItems.list(in: volume.trees.subvolume(.topLevel), from: 0, limit: 1000)
  }

  @Test func openFilesOutliveTheirNames() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let file = try volume.file("file", in: root)
    try volume.writeBytes(file, at: 0, [UInt8](repeating: 5, count: 100_000))
    try volume.namespace.open(file)
    try volume.namespace.open(file)
    try volume.namespace.unlink(Array("file".utf8), in: root)
    #expect(try volume.item(file).linkCount == 0)
    #expect(
      errorNumber { try volume.namespace.link(file, Array("again".utf8), in: root) } == ENOENT)
    #expect(try orphans(volume) == [file.number])
    try volume.synchronizeAll()
    try volume.writeBytes(file, at: 100_000, [UInt8](repeating: 6, count: 10))
    #expect(
      try volume.readBytes(file, at: 99_999, count: 100) == [5] + [UInt8](repeating: 6, count: 10))

    volume.namespace.release(file)
    #expect(try volume.item(file).size == 100_010)
    volume.namespace.release(file)
    #expect(errorNumber { try volume.item(file) } == ESTALE)
    #expect(try orphans(volume).isEmpty)
    try fixture.unmountAndCheck()
  }

  @Test func crashesLeaveOrphansThatTheNextMountDeletes() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    var expected: [ObjectID] = []
    for number in 0..<40 {
      let file = try volume.file("\(number)", in: root)
      try volume.attributes.setAttribute(
        file, Array("user.a".utf8), [UInt8](repeating: 1, count: 300))
      try volume.writeBytes(file, at: UInt64(number) * 5000, [UInt8](repeating: 5, count: 9000))
      try volume.namespace.open(file)
      expected.append(file.number)
    }
    let directory = try volume.directory("d", in: root)
    try volume.namespace.open(directory)
    expected.append(directory.number)
    for number in 0..<40 { try volume.namespace.unlink(Array("\(number)".utf8), in: root) }
    try volume.namespace.removeDirectory(Array("d".utf8), in: root)
    #expect(try orphans(volume) == expected)
    #expect(try volume.item(directory).linkCount == 0 && volume.item(directory).size == 0)
    #expect(errorNumber { try volume.file("x", in: directory) } == ENOENT)
    #expect(errorNumber { try volume.names(directory) } == ENOENT)
    try volume.synchronizeAll()

    let crashed = try fixture.afterCrash()
    #expect(try orphans(crashed.volume).isEmpty)
    #expect(try crashed.volume.names(root).isEmpty)
    try crashed.unmountAndCheck()

    // At unmount they go even though they are open.
    try fixture.unmountAndCheck()
    let again = try fixture.afterCrash()
    #expect(try orphans(again.volume).isEmpty)
    try again.unmountAndCheck()
  }

  /// As with FUSE, which says when the kernel knows an inode no longer.
  @Test func inodesWaitToBeForgotten() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let file = try volume.file("file", in: root)
    let other = try volume.file("other", in: root)
    let directory = try volume.directory("d", in: root)
    for id in [file, file, other, directory] { volume.namespace.noteLookup(id) }
    volume.namespace.forget(file, lookups: 1)
    try volume.namespace.open(file)
    try volume.namespace.unlink(Array("file".utf8), in: root)
    try volume.namespace.rename("d", in: root, to: "e", in: root)
    try volume.namespace.removeDirectory(Array("e".utf8), in: root)
    try volume.file("new", in: root)
    try volume.namespace.rename("new", in: root, to: "other", in: root)
    for id in [file, other, directory] { #expect(try volume.item(id).linkCount == 0) }

    volume.namespace.forget(file, lookups: 1)
    #expect(try volume.item(file).linkCount == 0)
    volume.namespace.release(file)
    volume.namespace.forget(other, lookups: 1)
    volume.namespace.forget(directory, lookups: 1)
    for id in [file, other, directory] {
      #expect(errorNumber { try volume.item(id) } == ESTALE)
    }
    #expect(try orphans(volume).isEmpty)
    try fixture.unmountAndCheck()
  }

  /// The kernel dropped the file, and looked it up again before that was read. What is given back
  /// late is not the newer reference.
  @Test func aLateForgetTakesNoNewerReference() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let file = try volume.file("file", in: root)
    for _ in 0..<3 { volume.namespace.noteLookup(file) }
    volume.namespace.noteLookup(file)
    try volume.namespace.unlink(Array("file".utf8), in: root)
    volume.namespace.forget(file, lookups: 3)
    #expect(try volume.item(file).linkCount == 0)
    #expect(try orphans(volume) == [file.number])
    volume.namespace.forget(file, lookups: 1)
    #expect(errorNumber { try volume.item(file) } == ESTALE)
    #expect(try orphans(volume).isEmpty)
    try fixture.unmountAndCheck()
  }

  /// An inode that is listed but has a name keeps it; a number that is listed without an inode
  /// is taken off the list.
  @Test func strangeListsAreCleaned() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let file = try volume.file("file", in: root)
    let inode = try volume.inodes.inode(file)
    try volume.transactions.perform(reserving: 2) {
      (handle: borrowing TransactionHandle) throws(FilesystemError) in
      try OrphanItems.add(inode, handle)
      try inode.tree.insert(OrphanItems.key(12345), size: 0, in: handle) { _ in }
    }
    try fixture.remount()
    #expect(try orphans(fixture.volume).isEmpty)
    #expect(try fixture.volume.item(file).linkCount == 1)
    #expect(try fixture.volume.names(root) == ["file"])
    try fixture.unmountAndCheck()
  }
}

import Glibc
import Testing

@testable import FSCore

/// Making, finding, linking and removing names.
@Suite(.timeLimit(.minutes(10))) struct NamesTests {
  @Test func newInodesAreAsLinuxMakesThem() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let owner = Credentials(uid: 7, gid: 8)
    let file = try volume.namespace.createNode(Array("file".utf8), in: root, mode: 0o100640, owner)
    #expect(file.item.mode == 0o100640)
    #expect(file.item.uid == 7 && file.item.gid == 8 && file.item.linkCount == 1)
    #expect(file.item.size == 0 && file.blocks == 0)

    let device = try volume.namespace.createNode(
      Array("device".utf8), in: root, mode: 0o060600, rdev: 8 << 20 | 3, owner)
    #expect(device.item.rdev == 8 << 20 | 3)
    let pipe = try volume.namespace.createNode(
      Array("pipe".utf8), in: root, mode: 0o010600, rdev: 99, owner)
    #expect(pipe.item.rdev == 0)

    let directory = try volume.namespace.makeDirectory(
      Array("d".utf8), in: root, mode: 0o1755, owner)
    #expect(directory.item.mode == 0o041755 && directory.item.linkCount == 1)
    let target = [UInt8](repeating: 0x78, count: 4095)
    let link = try volume.namespace.makeSymbolicLink(
      Array("link".utf8), in: root, target: target, owner)
    #expect(link.item.size == 4095 && link.item.nbytes == 4095 && link.blocks == 8)
    #expect(link.item.mode == 0o120777)

    // Twice the length of all names.
    #expect(try volume.item(root).size == 2 * (4 + 6 + 4 + 1 + 4))
    #expect(try volume.item(root).linkCount == 1)

    try fixture.remount()
    #expect(try fixture.volume.namespace.readSymbolicLink(link.id) == target)
    #expect(
      try fixture.volume.namespace.lookup(Array("device".utf8), in: root).item.rdev == 8 << 20 | 3)
    #expect(try fixture.volume.names(root) == ["file", "device", "pipe", "d", "link"])
    try fixture.unmountAndCheck()
  }

  @Test func namesThatCannotBe() throws {
    let fixture = try NamesFixture(nodeSize: 4096)
    let (volume, root) = (fixture.volume, fixture.root)
    let file = try volume.file("file", in: root)
    #expect(errorNumber { try volume.file("file", in: root) } == EEXIST)
    #expect(errorNumber { try volume.file(".", in: root) } == EEXIST)
    #expect(errorNumber { try volume.file("", in: root) } == ENOENT)
    #expect(errorNumber { try volume.file("a/b", in: root) } == EINVAL)
    #expect(
      errorNumber { try volume.file(String(repeating: "n", count: 256), in: root) }
        == ENAMETOOLONG)
    #expect(
      errorNumber { try volume.id(String(repeating: "n", count: 256), in: root) }
        == ENAMETOOLONG)
    #expect(errorNumber { try volume.file("x", in: file) } == ENOTDIR)
    #expect(errorNumber { try volume.id("x", in: file) } == ENOTDIR)
    #expect(errorNumber { try volume.id("x", in: root) } == ENOENT)
    try volume.file(String(repeating: "n", count: 255), in: root)

    // The longest target that fits the only item of a link.
    let owner = Volume.testOwner
    let longest = 4096 - 101 - 25 - 21
    #expect(
      errorNumber {
        try volume.namespace.makeSymbolicLink(
          Array("l".utf8), in: root, target: [UInt8](repeating: 1, count: longest + 1), owner)
      } == ENAMETOOLONG)
    _ = try volume.namespace.makeSymbolicLink(
      Array("l".utf8), in: root, target: [UInt8](repeating: 1, count: longest), owner)
    #expect(errorNumber { try volume.namespace.readSymbolicLink(file) } == EINVAL)
    #expect(
      errorNumber { try volume.attributes.attributes(of: InodeID(tree: 5, number: 9999)) } == ESTALE
    )
    try fixture.unmountAndCheck()
  }

  @Test func removingTakesOnlyWhatItMay() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    try volume.file("file", in: root)
    let directory = try volume.directory("d", in: root)
    try volume.file("inner", in: directory)
    #expect(errorNumber { try volume.namespace.unlink(Array("d".utf8), in: root) } == EISDIR)
    #expect(
      errorNumber { try volume.namespace.removeDirectory(Array("file".utf8), in: root) } == ENOTDIR)
    #expect(
      errorNumber { try volume.namespace.removeDirectory(Array("d".utf8), in: root) } == ENOTEMPTY)
    #expect(errorNumber { try volume.namespace.unlink(Array("none".utf8), in: root) } == ENOENT)
    #expect(
      errorNumber { try volume.namespace.removeDirectory(Array(".".utf8), in: root) } == EINVAL)
    #expect(
      errorNumber { try volume.namespace.removeDirectory(Array("..".utf8), in: root) } == ENOTEMPTY)

    try volume.namespace.unlink(Array("inner".utf8), in: directory)
    try volume.namespace.removeDirectory(Array("d".utf8), in: root)
    try volume.namespace.unlink(Array("file".utf8), in: root)
    #expect(try volume.item(root).size == 0)
    #expect(errorNumber { try volume.file("x", in: directory) } == ESTALE)
    try fixture.unmountAndCheck()
  }

  @Test func linksCountAndKeepTheFile() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let file = try volume.file("a", in: root)
    let directory = try volume.directory("d", in: root)
    let linked = try volume.namespace.link(file, Array("b".utf8), in: directory)
    #expect(linked.id == file && linked.item.linkCount == 2)
    #expect(
      errorNumber { try volume.namespace.link(file, Array("b".utf8), in: directory) } == EEXIST)
    #expect(
      errorNumber { try volume.namespace.link(directory, Array("e".utf8), in: root) } == EPERM)
    try volume.namespace.unlink(Array("a".utf8), in: root)
    #expect(try volume.id("b", in: directory) == file)
    #expect(try volume.item(file).linkCount == 1)
    try fixture.unmountAndCheck()
  }

  /// Names with one hash share an item, which can be full.
  @Test(arguments: [4096, 16384])
  func collidingNamesShareAnItem(nodeSize: UInt64) throws {
    let fixture = try NamesFixture(nodeSize: nodeSize)
    let root = fixture.root
    let names = collidingNames(80, prefix: "n", length: 250)
    // Linux wants room for one item header more than the item needs.
    let fitting = (Int(nodeSize) - 101 - 50) / 280
    var made = 0
    for name in names {
      let result = errorNumber {
        try fixture.volume.namespace.createNode(name, in: root, mode: 0o100600, Volume.testOwner)
      }
      #expect(result == (made < fitting ? 0 : EOVERFLOW))
      if result != 0 { break }
      made += 1
    }
    #expect(made == min(fitting, names.count))

    try fixture.remount()
    let volume = fixture.volume
    for index in stride(from: 0, to: made, by: 3) {
      try volume.namespace.unlink(names[index], in: root)
    }
    for index in 0..<made {
      let result = errorNumber { try volume.namespace.lookup(names[index], in: root) }
      #expect(result == (index % 3 == 0 ? ENOENT : 0))
    }
    // A rename within the item, over another of its names, and to a new one.
    try volume.namespace.rename(names[1], in: root, to: names[2], in: root)
    try volume.namespace.rename(names[2], in: root, to: names[0], in: root)
    try volume.namespace.rename(
      names[0], in: root, to: names[4], in: root, flags: .exchange)
    #expect(try volume.names(root).count == made - (made + 2) / 3 - 1)
    try fixture.unmountAndCheck()
  }

  /// References that do not fit the item of their directory go to items of their own.
  @Test(arguments: [4096, 16384])
  func manyLinksInOneDirectory(nodeSize: UInt64) throws {
    let fixture = try NamesFixture(nodeSize: nodeSize)
    let root = fixture.root
    let file = try fixture.volume.file("file", in: root)
    let long = String(repeating: "l", count: 200)
    for number in 0..<300 {
      _ = try fixture.volume.namespace.link(file, Array("\(long)\(number)".utf8), in: root)
    }
    try fixture.volume.synchronizeAll()
    #expect(try fixture.volume.item(file).linkCount == 301)

    var extended = 0
    try fixture.volume.trees.subvolume(.topLevel).forEach(
      from: Key(file.number, .inodeExtref, 0), through: Key(file.number, .inodeExtref, .max)
    ) { (_, _) throws(FilesystemError) in
      extended += 1
      return true
    }
    let inItem = (Int(nodeSize) - 101 - 50 - 14) / 212
    #expect(extended >= 300 - inItem - 4 && extended <= 300 - inItem + 1)

    try fixture.remount()
    for number in stride(from: 0, to: 300, by: 2) {
      try fixture.volume.namespace.unlink(Array("\(long)\(number)".utf8), in: root)
    }
    for number in stride(from: 1, to: 300, by: 4) {
      try fixture.volume.namespace.rename(
        "\(long)\(number)", in: root, to: "\(long)x\(number)", in: root)
    }
    #expect(try fixture.volume.item(file).linkCount == 151)
    #expect(try fixture.volume.names(root).count == 151)
    try fixture.unmountAndCheck()
  }

  @Test func linksAreLimited() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let file = try volume.file("0", in: root)
    let inode = try volume.inodes.inode(file)
    func pretend(_ count: UInt32) throws {
      try volume.transactions.perform(reserving: 1) {
        (handle: borrowing TransactionHandle) throws(FilesystemError) in
        try inode.update(in: handle) { $0.linkCount = count }
      }
    }
    try pretend(65534)
    #expect(try volume.namespace.link(file, Array("1".utf8), in: root).item.linkCount == 65535)
    #expect(errorNumber { try volume.namespace.link(file, Array("2".utf8), in: root) } == EMLINK)
    try volume.namespace.unlink(Array("0".utf8), in: root)
    _ = try volume.namespace.link(file, Array("2".utf8), in: root)
    try pretend(2)
    try fixture.unmountAndCheck()
  }

  @Test func indicesGrowAndAreFoundAgain() throws {
    let fixture = try NamesFixture()
    let root = fixture.root
    for name in ["a", "b", "c"] { try fixture.volume.file(name, in: root) }
    try fixture.volume.namespace.unlink(Array("c".utf8), in: root)
    #expect(try fixture.volume.namespace.lastEntry(of: root) == 4)
    try fixture.volume.file("d", in: root)
    #expect(try fixture.volume.namespace.lastEntry(of: root) == 5)
    try fixture.volume.namespace.rename("a", in: root, to: "a2", in: root)
    #expect(try fixture.volume.names(root) == ["b", "d", "a2"])
    try fixture.remount()
    #expect(try fixture.volume.namespace.lastEntry(of: root) == 6)
    try fixture.volume.namespace.rename("b", in: root, to: "d", in: root, flags: .exchange)
    #expect(try fixture.volume.names(root) == ["a2", "d", "b"])
    #expect(try fixture.volume.namespace.lastEntry(of: root) == 8)
    try fixture.unmountAndCheck()
  }

  /// Numbers at the very end, as only a damaged image has them.
  @Test func numbersRunOut() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let directory = try volume.directory("d", in: root)
    try fixture.remount()
    let tree = try fixture.volume.trees.subvolume(.topLevel)
    let last = Key(ObjectID(rawValue: ObjectID.lastNew.rawValue - 1), .inodeItem, 0)
    let entry = Key(directory.number, .dirIndex, .max)
    let item = InodeItem(
      generation: 1, mode: 0o100644, uid: 0, gid: 0, now: Timestamp(seconds: 0, nanoseconds: 0))
    try fixture.volume.transactions.perform(reserving: 2) {
      (handle: borrowing TransactionHandle) throws(FilesystemError) in
      try tree.insert(last, size: InodeItem.size, in: handle) { item.encode(into: $0) }
      try tree.insert(entry, size: 31, in: handle) {
        PackedEntry.write(
          location: last, transactionID: 1, type: .regular, name: [0x61], into: $0)
      }
    }
    #expect(try fixture.volume.file("last", in: root).number == .lastNew)
    for _ in 0..<600 {
      #expect(errorNumber { try fixture.volume.file("more", in: root) } == ENOSPC)
    }
    #expect(errorNumber { try fixture.volume.file("x", in: directory) } == ENOSPC)
    #expect(try fixture.volume.names(directory) == [])

    try fixture.volume.namespace.unlink(Array("last".utf8), in: root)
    try fixture.volume.transactions.perform(reserving: 2) {
      (handle: borrowing TransactionHandle) throws(FilesystemError) in
      _ = try tree.delete(last, in: handle)
      _ = try tree.delete(entry, in: handle)
    }
    try fixture.unmountAndCheck()
  }
}

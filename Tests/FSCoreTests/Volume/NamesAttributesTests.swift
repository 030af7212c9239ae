import Glibc
import Testing

@testable import FSCore

/// Attributes, extended attributes and access lists.
@Suite(.timeLimit(.minutes(10))) struct NamesAttributesTests {
  private let old = Timestamp(seconds: 1, nanoseconds: 2)

  @Test func attributesChangeAndStay() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let file = try volume.file("file", in: root)
    var changes = AttributeChanges()
    changes.mode = 0o104711
    changes.uid = 5
    changes.gid = 6
    changes.atime = .set(old)
    changes.mtime = .set(Timestamp(seconds: -5, nanoseconds: 999_999_999))
    let changed = try volume.attributes.setAttributes(file, changes).item
    #expect(changed.mode == 0o104711 && changed.uid == 5 && changed.gid == 6)
    #expect(changed.atime == old && changed.mtime.seconds == -5)
    #expect(changed.ctime >= changed.otime)

    changes = AttributeChanges()
    #expect(try volume.attributes.setAttributes(file, changes).item.ctime > changed.ctime)
    changes.ctime = changed.ctime
    _ = try volume.attributes.setAttributes(file, changes)

    try fixture.remount()
    let item = try fixture.volume.item(file)
    #expect(item.mode == 0o104711 && item.uid == 5 && item.gid == 6)
    #expect(item.atime == old && item.mtime.nanoseconds == 999_999_999)
    #expect(item.ctime == changed.ctime && item.otime == changed.otime)
    try fixture.unmountAndCheck()
  }

  @Test func timesOfATruncation() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let file = try volume.file("file", in: root)
    func reset() throws {
      var changes = AttributeChanges()
      (changes.mtime, changes.ctime) = (.set(old), old)
      _ = try volume.attributes.setAttributes(file, changes)
    }
    try reset()
    var changes = AttributeChanges()
    changes.size = 0
    #expect(try volume.attributes.setAttributes(file, changes).item.mtime == old)
    #expect(try volume.item(file).ctime == old)
    changes.touchesWhenSizeIsSame = true
    #expect(try volume.attributes.setAttributes(file, changes).item.mtime > old)
    #expect(try volume.item(file).ctime > old)

    try reset()
    changes.touchesWhenSizeIsSame = false
    changes.size = 10000
    let grown = try volume.attributes.setAttributes(file, changes).item
    #expect(grown.size == 10000 && grown.mtime > old && grown.ctime > old)

    let directory = try volume.directory("d", in: root)
    #expect(errorNumber { try volume.attributes.setAttributes(directory, changes) } == EISDIR)
    let pipe = try volume.file("pipe", in: root, mode: 0o010600)
    #expect(errorNumber { try volume.attributes.setAttributes(pipe, changes) } == EINVAL)
    try fixture.unmountAndCheck()
  }

  @Test func readOnlyMountsChangeNothing() throws {
    let fixture = try NamesFixture()
    let root = fixture.root
    let file = try fixture.volume.file("file", in: root)
    try fixture.remount { $0.readOnly = true }
    let volume = fixture.volume
    #expect(errorNumber { try volume.file("x", in: root) } == EROFS)
    let tooLong = [UInt8](repeating: 1, count: 5000)
    #expect(
      errorNumber {
        try volume.namespace.makeSymbolicLink(
          Array("x".utf8), in: root, target: tooLong, Credentials(uid: 0, gid: 0))
      } == EROFS)
    #expect(errorNumber { try volume.namespace.unlink(Array("file".utf8), in: root) } == EROFS)
    #expect(errorNumber { try volume.namespace.unlink(Array("none".utf8), in: root) } == ENOENT)
    #expect(
      errorNumber { try volume.namespace.rename("file", in: root, to: "x", in: root) } == EROFS)
    #expect(errorNumber { try volume.namespace.link(file, Array("x".utf8), in: root) } == EROFS)
    #expect(
      errorNumber { try volume.attributes.setAttribute(file, Array("user.a".utf8), []) } == EROFS)
    #expect(errorNumber { try volume.attributes.setAttributes(file, AttributeChanges()) } == EROFS)
    #expect(errorNumber { try volume.namespace.open(file, forWriting: true) } == EROFS)
    try volume.namespace.open(file)
    volume.namespace.release(file)
    #expect(try volume.names(root) == ["file"])
    try fixture.volume.unmount()
  }

  /// The flags that chattr(1) sets, here put into the tree by hand.
  @Test func flagsForbidChanges() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    func flagged(_ name: String, _ flag: InodeFlags, directory: Bool = false) throws -> InodeID {
      let id =
        directory ? try volume.directory(name, in: root) : try volume.file(name, in: root)
      try volume.addFlags(id, flag)
      return id
    }
    let still = try flagged("still", .immutable)
    let growing = try flagged("growing", .append)
    let stillDirectory = try flagged("still directory", .immutable, directory: true)
    let growingDirectory = try flagged("growing directory", .append, directory: true)
    try volume.file("plain", in: root)

    for id in [still, growing] {
      var changes = AttributeChanges()
      changes.mode = 0
      #expect(errorNumber { try volume.attributes.setAttributes(id, changes) } == EPERM)
      changes = AttributeChanges()
      changes.size = 0
      #expect(errorNumber { try volume.attributes.setAttributes(id, changes) } == EPERM)
      changes = AttributeChanges()
      changes.mtime = .set(old)
      #expect(errorNumber { try volume.attributes.setAttributes(id, changes) } == EPERM)
      (changes.atime, changes.mtime) = (.now, .now)
      #expect(
        errorNumber { try volume.attributes.setAttributes(id, changes) }
          == (id == still ? EPERM : 0))
      #expect(errorNumber { try volume.namespace.link(id, Array("l".utf8), in: root) } == EPERM)
      #expect(
        errorNumber { try volume.attributes.setAttribute(id, Array("user.a".utf8), []) } == EPERM)
      #expect(errorNumber { try volume.namespace.open(id, forWriting: true) } == EPERM)
    }
    #expect(
      errorNumber { try volume.namespace.open(still, forWriting: true, appending: true) } == EPERM)
    try volume.namespace.open(growing, forWriting: true, appending: true)
    volume.namespace.release(growing)
    for name in ["still", "growing"] {
      #expect(errorNumber { try volume.namespace.unlink(Array(name.utf8), in: root) } == EPERM)
      #expect(
        errorNumber { try volume.namespace.rename(name, in: root, to: "x", in: root) } == EPERM)
      #expect(
        errorNumber { try volume.namespace.rename("plain", in: root, to: name, in: root) } == EPERM)
    }
    #expect(errorNumber { try volume.file("x", in: stillDirectory) } == EPERM)
    try volume.file("x", in: growingDirectory)
    #expect(
      errorNumber { try volume.namespace.unlink(Array("x".utf8), in: growingDirectory) } == EPERM)
    #expect(
      errorNumber { try volume.namespace.rename("x", in: growingDirectory, to: "y", in: root) }
        == EPERM)
    try volume.namespace.rename("plain", in: root, to: "plain", in: growingDirectory)
    try fixture.unmountAndCheck()
  }

  @Test func newInodesInheritFromTheirDirectory() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let directory = try volume.directory("d", in: root)
    var changes = AttributeChanges()
    changes.mode = 0o2755
    changes.gid = 77
    _ = try volume.attributes.setAttributes(directory, changes)
    let owner = Credentials(uid: 1, gid: 2, umask: 0o022)
    let inner = try volume.namespace.makeDirectory(
      Array("i".utf8), in: directory, mode: 0o777, owner)
    #expect(inner.item.mode == 0o042755 && inner.item.gid == 77)
    let file = try volume.namespace.createNode(
      Array("f".utf8), in: directory, mode: 0o100666, owner)
    #expect(file.item.mode == 0o100644 && file.item.gid == 77 && file.item.uid == 1)

    try volume.addFlags(directory, [.noDataCow, .noCompress, .noDump])
    let plain = try volume.namespace.createNode(
      Array("g".utf8), in: directory, mode: 0o100666, owner)
    #expect(plain.item.flags == [.noDataCow, .noDataSum, .noCompress])
    let nested = try volume.namespace.makeDirectory(
      Array("j".utf8), in: directory, mode: 0o777, owner)
    #expect(nested.item.flags == [.noDataCow, .noCompress])
    try fixture.unmountAndCheck()
  }

  // Extended attributes.

  @Test func attributesBySeveralNames() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let file = try volume.file("file", in: root)
    func name(_ text: String) -> [UInt8] { Array(text.utf8) }
    #expect(try volume.attributes.listAttributes(file).isEmpty)
    #expect(errorNumber { try volume.attributes.getAttribute(file, name("user.a")) } == ENODATA)
    #expect(errorNumber { try volume.attributes.removeAttribute(file, name("user.a")) } == ENODATA)
    #expect(
      errorNumber { try volume.attributes.setAttribute(file, name("user.a"), [1], .replace) }
        == ENODATA)
    try volume.attributes.setAttribute(file, name("user.a"), [1], .create)
    #expect(
      errorNumber { try volume.attributes.setAttribute(file, name("user.a"), [], .create) }
        == EEXIST)
    try volume.attributes.setAttribute(file, name("user.a"), [], .replace)
    #expect(try volume.attributes.getAttribute(file, name("user.a")) == [])

    for text in ["user.", "trusted.", "security."] {
      #expect(errorNumber { try volume.attributes.setAttribute(file, name(text), []) } == EINVAL)
      #expect(errorNumber { try volume.attributes.getAttribute(file, name(text)) } == EINVAL)
    }
    for text in ["foo.x", "system.x", "user", ""] {
      #expect(
        errorNumber { try volume.attributes.setAttribute(file, name(text), []) } == EOPNOTSUPP)
      #expect(errorNumber { try volume.attributes.getAttribute(file, name(text)) } == EOPNOTSUPP)
    }
    #expect(
      errorNumber { try volume.attributes.getAttribute(file, name("btrfs.compression")) } == ENODATA
    )

    #expect(
      errorNumber { try volume.attributes.removeAttribute(file, name("btrfs.compression")) }
        == ENODATA)
    for (text, value, result) in [
      ("btrfs.foo", "zlib", EINVAL), ("btrfs.compression", "bad", EINVAL),
      ("btrfs.compression", "zst", EINVAL),
    ] {
      #expect(
        errorNumber { try volume.attributes.setAttribute(file, name(text), name(value)) } == result)
    }

    let longest = 16384 - 101 - 25 - 30 - 6
    let value = [UInt8](repeating: 9, count: longest)
    #expect(
      errorNumber { try volume.attributes.setAttribute(file, name("user.b"), value + [1]) }
        == ENOSPC)
    try volume.attributes.setAttribute(file, name("user.b"), value)
    try volume.attributes.setAttribute(file, name("trusted.c"), [3])
    try volume.attributes.setAttribute(file, name("security.d"), [4])
    #expect(try volume.item(file).ctime >= volume.item(file).mtime)

    try fixture.remount()
    #expect(try fixture.volume.attributes.getAttribute(file, name("user.b")) == value)
    let names = try fixture.volume.attributes.listAttributes(file).map {
      String(decoding: $0, as: UTF8.self)
    }
    #expect(names.sorted() == ["security.d", "trusted.c", "user.a", "user.b"])
    try fixture.volume.attributes.removeAttribute(file, name("user.b"))
    #expect(
      errorNumber { try fixture.volume.attributes.getAttribute(file, name("user.b")) } == ENODATA)
    try fixture.volume.namespace.unlink(name("file"), in: root)
    try fixture.unmountAndCheck()
  }

  @Test func collidingAttributesShareAnItem() throws {
    let fixture = try NamesFixture(nodeSize: 4096)
    let (volume, root) = (fixture.volume, fixture.root)
    let file = try volume.file("file", in: root)
    let names = collidingNames(6, prefix: "user.x", length: 20)
    for (index, name) in names.enumerated() {
      try volume.attributes.setAttribute(
        file, name, [UInt8](repeating: UInt8(index), count: 100 * index))
    }
    try volume.attributes.setAttribute(file, names[2], [7, 7])
    try volume.attributes.removeAttribute(file, names[4])
    // What a replaced attribute gets is a place at the end.
    #expect(
      try volume.attributes.listAttributes(file) == [
        names[0], names[1], names[3], names[5], names[2],
      ])
    // 3945 bytes is what Linux lets such an item grow to.
    let rest = 3945 - (5 * 50 + 100 + 300 + 500 + 2)
    #expect(
      errorNumber {
        try volume.attributes.setAttribute(file, names[4], [UInt8](repeating: 1, count: rest - 49))
      } == ENOSPC)
    try volume.attributes.setAttribute(file, names[4], [UInt8](repeating: 1, count: rest - 50))

    try fixture.remount()
    #expect(try fixture.volume.attributes.getAttribute(file, names[2]) == [7, 7])
    #expect(try fixture.volume.attributes.getAttribute(file, names[5]).count == 500)
    #expect(try fixture.volume.attributes.getAttribute(file, names[0]) == [])
    try fixture.unmountAndCheck()
  }

  private func list(_ entries: [(UInt16, UInt16, UInt32)]) -> [UInt8] {
    var bytes: [UInt8] = [2, 0, 0, 0]
    for (tag, permissions, id) in entries {
      bytes += [UInt8(tag), 0, UInt8(permissions), 0]
      bytes += (0..<4).map { UInt8(truncatingIfNeeded: id >> ($0 * 8)) }
    }
    return bytes
  }

  @Test func accessLists() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let file = try volume.file("file", in: root, mode: 0o100600)
    let (access, standard) = (AccessControlList.accessName, AccessControlList.defaultName)
    #expect(errorNumber { try volume.attributes.setAttribute(file, access, [1, 2, 3]) } == EINVAL)
    #expect(
      errorNumber { try volume.attributes.setAttribute(file, access, [1, 0, 0, 0]) } == EOPNOTSUPP)

    // One that the mode can say goes into the mode.
    try volume.attributes.setAttribute(
      file, access, list([(1, 6, .max), (4, 5, .max), (32, 4, .max)]))
    #expect(try volume.item(file).mode == 0o100654)
    #expect(errorNumber { try volume.attributes.getAttribute(file, access) } == ENODATA)

    let full = list([(1, 7, .max), (2, 6, 99), (4, 5, .max), (16, 6, .max), (32, 0, .max)])
    try volume.attributes.setAttribute(file, access, full)
    #expect(try volume.item(file).mode == 0o100760)
    #expect(try volume.attributes.getAttribute(file, access) == full)
    var changes = AttributeChanges()
    changes.mode = 0o100444
    _ = try volume.attributes.setAttributes(file, changes)
    #expect(
      try volume.attributes.getAttribute(file, access)
        == list([(1, 4, .max), (2, 6, 99), (4, 5, .max), (16, 4, .max), (32, 4, .max)]))

    try volume.attributes.removeAttribute(file, access)
    try volume.attributes.removeAttribute(file, access)
    #expect(errorNumber { try volume.attributes.getAttribute(file, access) } == ENODATA)

    let directory = try volume.directory("d", in: root)
    try volume.attributes.setAttribute(directory, standard, full)
    let owner = Credentials(uid: 0, gid: 0, umask: 0o077)
    let inner = try volume.namespace.makeDirectory(
      Array("i".utf8), in: directory, mode: 0o755, owner)
    #expect(inner.item.mode == 0o040740)
    #expect(try volume.attributes.getAttribute(inner.id, standard) == full)
    #expect(
      try volume.attributes.getAttribute(inner.id, access)
        == list([(1, 7, .max), (2, 6, 99), (4, 5, .max), (16, 4, .max), (32, 0, .max)]))
    let made = try volume.namespace.createNode(
      Array("f".utf8), in: directory, mode: 0o100666, owner)
    #expect(made.item.mode == 0o100660)
    #expect(errorNumber { try volume.attributes.getAttribute(made.id, standard) } == ENODATA)
    try fixture.unmountAndCheck()
  }
}

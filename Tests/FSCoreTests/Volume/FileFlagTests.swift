import Glibc
import Testing

@testable import FSCore

/// The flags of chattr(1), as they are set; `NamesAttributesTests` has what they forbid.
@Suite(.timeLimit(.minutes(10))) struct FileFlagTests {
  private func set(
    _ volume: Volume, _ id: InodeID, _ flags: FileFlags, among scope: FileFlags = .all,
    mayProtect: Bool = true
  ) -> Int32 {
    errorNumber { try volume.attributes.setFlags(id, flags, among: scope, mayProtect: mayProtect) }
  }

  @Test func flagsAreKept() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let file = try volume.file("file", in: root)
    let directory = try volume.directory("directory", in: root)
    let all = FileFlags.all.subtracting([.compress, .noDataCow])
    let changed = try volume.item(file).ctime
    for id in [file, directory] { #expect(set(volume, id, all) == 0) }
    #expect(try volume.item(file).ctime > changed)

    try fixture.remount()
    let again = fixture.volume
    #expect(try again.attributes.flags(of: file) == all.subtracting(.dirSync))
    #expect(try again.attributes.flags(of: directory) == all)
    // Those that file systems have in common change alone.
    #expect(set(again, directory, .noDump, among: .common) == 0)
    #expect(try again.attributes.flags(of: directory) == [.noDump, .noCompress, .dirSync])
    for id in [file, directory] { #expect(set(again, id, []) == 0) }
    #expect(try again.item(file).flags == [] && again.item(directory).flags == [])
    try fixture.unmountAndCheck()
  }

  @Test func flagsAreRefused() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let file = try volume.file("file", in: root)
    let unknown = FileFlags(rawValue: 1)
    let refused: [(old: FileFlags, new: FileFlags, code: Int32)] = [
      ([], unknown, EOPNOTSUPP), ([], [unknown, .noDump], EOPNOTSUPP),
      ([], [.compress, .noCompress], EINVAL), ([], [.compress, .noDataCow], EINVAL),
      (.noDataCow, .noCompress, EINVAL), (.noCompress, .noDataCow, EINVAL),
    ]
    for (old, new, code) in refused {
      #expect(set(volume, file, []) == 0 && set(volume, file, old) == 0)
      #expect(set(volume, file, new) == code, "\(new) after \(old)")
      #expect(try volume.attributes.flags(of: file) == old)
    }

    // A caller that may not change the protecting flags may change the others.
    for old in [[], FileFlags.immutable, .append] {
      #expect(set(volume, file, old) == 0)
      for new in [FileFlags.immutable, .append, [.immutable, .append], []] where new != old {
        #expect(set(volume, file, new, mayProtect: false) == EPERM)
        #expect(set(volume, file, new, among: .common, mayProtect: false) == EPERM)
      }
      #expect(set(volume, file, old.union(.noAtime), mayProtect: false) == 0)
      #expect(try volume.attributes.flags(of: file) == old.union(.noAtime))
    }
    try fixture.remount { $0.readOnly = true }
    #expect(set(fixture.volume, file, .noDump) == EROFS)
  }

  /// A file with data keeps the checksums it has, or has not.
  @Test func copyOnWriteIsChosenForEmptyFiles() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let (plain, other) = (try volume.file("plain", in: root), try volume.file("other", in: root))
    let directory = try volume.directory("directory", in: root)
    #expect(set(volume, other, .noDataCow) == 0 && set(volume, directory, .noDataCow) == 0)
    #expect(try volume.item(other).flags == [.noDataCow, .noDataSum])
    #expect(try volume.item(directory).flags == .noDataCow)
    for id in [plain, other] { try volume.writeBytes(id, at: 0, [1]) }

    #expect(set(volume, plain, [.noDataCow, .noAtime]) == 0)
    #expect(set(volume, other, .noAtime) == 0 && set(volume, directory, []) == 0)
    #expect(try volume.attributes.flags(of: plain) == .noAtime)
    #expect(try volume.item(other).flags == [.noDataCow, .noDataSum, .noAtime])
    #expect(try volume.item(directory).flags == [])

    var changes = AttributeChanges()
    changes.size = 0
    _ = try volume.attributes.setAttributes(other, changes)
    #expect(set(volume, other, []) == 0)
    #expect(try volume.item(other).flags == [])
    try fixture.unmountAndCheck()
  }

  /// Compression that Linux asked for stays until it is taken back, with its property.
  @Test func compressionGoesWithItsProperty() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let property = ExtendedAttributes.compressionProperty
    for (index, wanted) in [FileFlags.noDump, .noCompress].enumerated() {
      let directory = try volume.directory("d\(index)", in: root)
      try volume.addFlags(directory, .compress)
      let inode = try volume.inodes.inode(directory)
      try volume.transactions.perform(reserving: 2) {
        (handle: borrowing TransactionHandle) throws(FilesystemError) in
        var edits = ItemEdits()
        try ExtendedAttributes.set(
          property, to: Array("zstd".utf8), of: inode, generation: handle.generation, &edits)
        try edits.write(in: handle)
      }
      ExtendedAttributes.noteSome(inode)

      #expect(set(volume, directory, [.compress, .noDump]) == 0)
      #expect(try volume.attributes.flags(of: directory) == [.compress, .noDump])
      // As with Linux the mount's usual one is named anew by each change of flags.
      #expect(try volume.attributes.getAttribute(directory, property) == Array("zlib".utf8))
      #expect(set(volume, directory, wanted) == 0)
      #expect(try volume.attributes.flags(of: directory) == wanted)
      #expect(try volume.attributes.listAttributes(directory).isEmpty)
    }
    try fixture.unmountAndCheck()
  }

  @Test func whatIsWrittenToASynchronousFileIsDurable() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let file = try volume.file("file", in: root)
    #expect(set(volume, file, .sync) == 0)
    for offset in [0, 5000] as [UInt64] {
      try volume.writeBytes(file, at: offset, Array("bytes".utf8))
      let after = try fixture.afterCrash()
      #expect(try after.volume.readBytes(file, at: offset, count: 9) == Array("bytes".utf8))
      try after.unmountAndCheck()
    }
    try fixture.unmountAndCheck()
  }

  /// As with writing, only a program that had the file open before can still cut it.
  @Test func openFilesCanBeCutWhenTheyBecomeImmutable() throws {
    let fixture = try NamesFixture()
    let file = try fixture.volume.file("file", in: fixture.root)
    var changes = AttributeChanges()
    changes.size = 10
    changes.touchesWhenSizeIsSame = true
    for (flag, code) in [(FileFlags.immutable, 0), (.append, EPERM)] {
      #expect(set(fixture.volume, file, flag) == 0)
      #expect(errorNumber { try fixture.volume.attributes.setAttributes(file, changes) } == code)
    }
    try fixture.unmountAndCheck()
  }

  /// An open for appending gives no other way to write to a file that may but grow.
  @Test func filesThatMayButGrowAreNotOverwritten() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let file = try volume.file("file", in: root)
    func write(at offset: UInt64, isOpenToAppend: Bool = true) -> Int32 {
      errorNumber {
        _ = try [UInt8](repeating: 7, count: 2).withUnsafeBytes {
          try volume.content.write(file, at: offset, $0, isOpenToAppend: isOpenToAppend)
        }
      }
    }
    try volume.writeBytes(file, at: 0, Array("0123456789".utf8))
    #expect(write(at: 0) == 0)
    try volume.writeBytes(file, at: 0, Array("0123456789".utf8))
    #expect(set(volume, file, .append) == 0)
    for offset in [0, 5, 9] as [UInt64] { #expect(write(at: offset) == EPERM) }
    #expect(try volume.readBytes(file, at: 0, count: 20) == Array("0123456789".utf8))
    #expect(write(at: try volume.item(file).size) == 0)
    // A program that had it open before goes on.
    #expect(write(at: 0, isOpenToAppend: false) == 0)
    try fixture.unmountAndCheck()
  }

  @Test func onlyBothTimesAreSetToNowWhereFilesMayButGrow() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let file = try volume.file("file", in: root)
    #expect(set(volume, file, .append) == 0)
    for (atime, mtime, code) in [(true, true, 0), (true, false, EPERM), (false, true, EPERM)] {
      var changes = AttributeChanges()
      if atime { changes.atime = .now }
      if mtime { changes.mtime = .now }
      #expect(errorNumber { try volume.attributes.setAttributes(file, changes) } == code)
    }
    try fixture.unmountAndCheck()
  }
}

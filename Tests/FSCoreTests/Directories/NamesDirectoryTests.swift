import Glibc
import Testing

@testable import FSCore

/// Reading directories.
@Suite(.timeLimit(.minutes(10))) struct NamesDirectoryTests {
  /// One request's worth: at most `count` names from `cookie` on, and where to go on.
  private func read(
    _ volume: Volume, _ id: InodeID, from cookie: UInt64, _ count: Int, through last: UInt64 = .max
  ) throws -> (names: [String], next: UInt64) {
    var names: [String] = []
    var next = cookie
    try volume.namespace.readDirectory(id, from: cookie, through: last) {
      (record) throws(FilesystemError) in
      if names.count == count { return false }
      names.append(String(decoding: record.name, as: UTF8.self))
      next = record.nextCookie
      return true
    }
    return (names, next)
  }

  @Test func cookiesStayWhenOthersChange() throws {
    let fixture = try NamesFixture(nodeSize: 4096)
    let (volume, root) = (fixture.volume, fixture.root)
    let directory = try volume.directory("d", in: root)
    for number in 0..<1000 { try volume.file("\(number)", in: directory) }

    var seen: [String] = []
    var cookie: UInt64 = 0
    var round = 0
    while true {
      let (names, next) = try read(volume, directory, from: cookie, 7)
      if names.isEmpty { break }
      seen += names
      cookie = next
      // Removes one that was shown and one that was not, and adds one.
      if let shown = names.last, shown != "..", shown != "." {
        try volume.namespace.unlink(Array(shown.utf8), in: directory)
      }
      let ahead = 900 - round
      if round < 50, (try? volume.id("\(ahead)", in: directory)) != nil {
        try volume.namespace.unlink(Array("\(ahead)".utf8), in: directory)
      }
      if round < 50 { try volume.file("new\(round)", in: directory) }
      round += 1
    }
    #expect(seen.prefix(2) == [".", ".."])
    #expect(Set(seen).count == seen.count)
    let old = Set((0..<1000).map(String.init)).subtracting((851...900).map(String.init))
    #expect(old.isSubset(of: seen))
    try fixture.unmountAndCheck()
  }

  /// What is renamed goes to the end, and would be met for ever.
  @Test func readingEndsWhereItBegan() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    for number in 0..<300 { try volume.file("\(number)", in: root) }
    let last = try volume.namespace.lastEntry(of: root)
    var cookie: UInt64 = 0
    var renamed = 0
    while renamed < 1000 {
      let (names, next) = try read(volume, root, from: cookie, 50, through: last)
      if names.isEmpty { break }
      for name in names where name != "." && name != ".." {
        try volume.namespace.rename(name, in: root, to: "x\(name)", in: root)
        renamed += 1
      }
      cookie = next
    }
    #expect(renamed == 300)
    try fixture.unmountAndCheck()
  }

  @Test func recordsSayWhatTheyLeadTo() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let directory = try volume.directory("d", in: root)
    let file = try volume.file("f", in: directory)
    let pipe = try volume.file("p", in: directory, mode: 0o010600)
    var records: [DirectoryRecord] = []
    try volume.namespace.readDirectory(directory, from: 0) { (record) throws(FilesystemError) in
      records.append(record)
      return true
    }
    #expect(records.map(\.id) == [directory, root, file, pipe])
    #expect(records.map(\.type) == [.directory, .directory, .regular, .fifo])
    #expect(records.map(\.nextCookie) == [1, 2, 3, 4])
    #expect(records.map(\.number) == [directory, root, file, pipe].map(\.number.rawValue))
    #expect(errorNumber { try volume.names(file) } == ENOTDIR)
    #expect(try volume.id("..", in: root) == root)
    #expect(try volume.id(".", in: directory) == directory)
    try fixture.unmountAndCheck()
  }

  @Test func readingMovesTheAccessTime() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let directory = try volume.directory("d", in: root)
    func set(_ atime: Timestamp, _ mtime: Timestamp) throws {
      var changes = AttributeChanges()
      (changes.atime, changes.mtime, changes.ctime) = (.set(atime), .set(mtime), mtime)
      _ = try volume.attributes.setAttributes(directory, changes)
    }
    let now = volume.now()
    let (early, late) = (
      Timestamp(seconds: now.seconds - 100, nanoseconds: 0),
      Timestamp(seconds: now.seconds - 50, nanoseconds: 0)
    )
    // Later than the last change, and less than a day old: stays.
    try set(late, early)
    _ = try volume.names(directory)
    #expect(try volume.item(directory).atime == late)
    try set(early, late)
    _ = try volume.names(directory)
    #expect(try volume.item(directory).atime >= now)
    #expect(try volume.item(directory).ctime == late)
    let dayOld = Timestamp(seconds: now.seconds - 86401, nanoseconds: 0)
    try set(dayOld, Timestamp(seconds: 1, nanoseconds: 0))
    _ = try volume.names(directory)
    #expect(try volume.item(directory).atime >= now)

    try fixture.remount { $0.accessTimes = .noatime }
    try set(early, late)
    _ = try fixture.volume.names(directory)
    #expect(try fixture.volume.item(directory).atime >= now)
    try fixture.volume.unmount()
  }

  @Test func theTableOfInodesIsBounded() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let ids = try (0..<4000).map { try volume.file("\($0)", in: root) }
    let table = InodeTable(
      trees: volume.trees, geometry: volume.geometry, memory: MemoryShare(limit: 1 << 20),
      fileState: FileBuffers.self)
    let held = try ids.prefix(100).map { try table.inode($0) }
    let opened = try table.inode(ids[200])
    table.withHolders(of: opened) { opened.openCount = 1 }
    for id in ids + ids { _ = try table.inode(id) }
    #expect(table.count >= 1000 && table.count < 1600)
    for inode in held { #expect(try table.inode(inode.id) === inode) }
    #expect(table.loaded(ids[200]) != nil)
    try fixture.volume.unmount()
  }
}

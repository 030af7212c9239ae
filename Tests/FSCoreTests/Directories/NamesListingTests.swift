import SimulatedDevices
import Testing

@testable import FSCore

/// Reading directories with the attributes of what is in them.
@Suite(.timeLimit(.minutes(10))) struct NamesListingTests {
  private func listing(
    _ volume: Volume, _ directory: InodeID, expecting count: Int = 64
  ) throws -> [(name: String, id: InodeID, attributes: Attributes?)] {
    var found: [(name: String, id: InodeID, attributes: Attributes?)] = []
    try volume.namespace.readDirectory(directory, from: 0, expecting: count, withAttributes: true) {
      (record) throws(FilesystemError) in
      found.append((String(decoding: record.name, as: UTF8.self), record.id, record.attributes))
      return true
    }
    return found
  }

  /// Files of every kind, in an order that is not that of their numbers, some with two names.
  private func fill(_ volume: Volume, _ directory: InodeID) throws {
    for number in 0..<300 {
      let id = try volume.file("f\(number)", in: directory)
      if number % 3 == 0 {
        try volume.writeBytes(id, at: 0, Array(repeating: 7, count: number * 50))
      }
      if number % 7 == 0 {
        _ = try volume.namespace.link(id, Array("l\(number)".utf8), in: directory)
      }
      if number % 11 == 0 {
        try volume.namespace.rename("f\(number)", in: directory, to: "r\(number)", in: directory)
      }
    }
    try volume.directory("d", in: directory)
    try volume.file("p", in: directory, mode: 0o010600)
  }

  @Test(arguments: [1, 64, 5000])
  func attributesAreThoseOfStat(expecting count: Int) throws {
    let fixture = try NamesFixture(nodeSize: 4096)
    let directory = try fixture.volume.directory("d", in: fixture.root)
    try fill(fixture.volume, directory)

    for isInMemory in [true, false] {
      if !isInMemory { try fixture.remount() }
      let volume = fixture.volume
      let before = volume.inodes.count
      let found = try listing(volume, directory, expecting: count)
      if !isInMemory { #expect(volume.inodes.count <= before + 2) }
      #expect(found.map(\.name).prefix(2) == [".", ".."])
      #expect(found.count == 304 + 43)
      for entry in found.dropFirst(2) {
        let expected = try volume.attributes.attributes(of: entry.id)
        #expect(entry.attributes?.id == entry.id)
        #expect(entry.attributes?.item == expected.item, "\(entry.name)")
        #expect(entry.attributes?.blocks == expected.blocks)
        #expect(try volume.namespace.lookup(Array(entry.name.utf8), in: directory).id == entry.id)
      }
    }
    try fixture.unmountAndCheck()
  }

  /// What is read ahead need not be read when it is asked for.
  @Test func prefetching() throws {
    let device = try SimulatedDevice(try TestImage.make())
    var volume = try Volume.mountForTest(device)
    let directory = try volume.makeDirectory("/d")
    for number in 0..<5_000 { try volume.makeFile("/d/file-\(number)") }
    try volume.unmount()
    volume = try Volume.mountForTest(device)

    /// Shows `count` entries from `cookie` on; returns the next cookie, and how often the device
    /// was asked.
    func read(from cookie: UInt64, _ count: Int) throws -> (next: UInt64, reads: Int) {
      var next = cookie
      var left = count
      let before = device.count(.read)
      try volume.namespace.readDirectory(directory, from: cookie, expecting: count) { record in
        guard left > 0 else { return false }
        left -= 1
        next = record.nextCookie
        return true
      }
      return (next, device.count(.read) - before)
    }
    let first = try read(from: 0, 300)
    let cold = try read(from: first.next, 300)
    #expect(cold.reads > 1)
    volume.namespace.prefetchDirectory(directory, from: cold.next)
    #expect(try read(from: cold.next, 300).reads == 0)
    try volume.unmount()
  }

  /// What is buffered is not in the tree yet.
  @Test func sizesOfBufferedFilesAreThoseOfStat() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let id = try volume.file("f", in: root)
    try volume.writeBytes(id, at: 0, Array(repeating: 1, count: 10_000))
    let found = try listing(volume, root)
    #expect(found.last?.attributes?.item.size == 10_000)
    #expect(found.last?.attributes?.blocks == 24)
    try fixture.unmountAndCheck()
  }

  @Test func itemsNearEachOtherAreFoundInOnePass() throws {
    let fixture = try NamesFixture(nodeSize: 4096)
    let (volume, root) = (fixture.volume, fixture.root)
    let numbers = try (0..<200).map { try volume.file("f\($0)", in: root).number }
    let tree = try volume.trees.subvolume(root.tree)
    // Every number twice, with some that there are not.
    var keys = (numbers + numbers).map { Key($0, .inodeItem, 0) }
    keys += (1...5).map { Key(ObjectID($0), .inodeItem, 0) }
    keys += (1...5).map { Key(ObjectID(100_000 + $0), .inodeItem, 0) }
    keys += numbers.map { Key($0, .inodeItem, 1) }
    keys.sort()
    var found: [Int] = []
    try tree.findEach(keys.count, key: { keys[$0] }) { (number, bytes) throws(FilesystemError) in
      #expect(bytes.byteCount == InodeItem.size)
      found.append(number)
    }
    let expected = try keys.indices.filter { try tree.contains(keys[$0]) }
    #expect(found == expected)
    #expect(found.count == 400)
    try fixture.unmountAndCheck()
  }
}

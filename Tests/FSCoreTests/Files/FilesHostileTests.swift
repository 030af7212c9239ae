import TestSupport
import Testing

@testable import FSCore

/// Files of which a number is another than it should be, near the largest above all, under
/// checksums that are right. Errors are right; a trap ends the test program.
@Suite(.timeLimit(.minutes(10))) struct FilesHostileTests {
  private static let hostile: [UInt64] = [
    .max, .max - 4095, .max - 131_071, 1 << 63, (1 << 63) - 4096, 0,
  ]

  /// A file with data, preallocated space, a hole and a tail, and a small one.
  private static func image(compression: String? = nil) throws -> MemoryDevice {
    let device = try TestImage.make(sizeBytes: 256 << 20)
    let volume = try Volume.mountForTest(device) { $0.compress(compression) }
    let file = try volume.makeFile("/f")
    try volume.writeBytes(file, at: 0, [UInt8](repeating: 7, count: 262_144))
    try volume.content.allocate(file, .keepSize, offset: 400_000, length: 100_000)
    try volume.writeBytes(file, at: 600_000, [UInt8](repeating: 8, count: 5000))
    try volume.writeBytes(try volume.makeFile("/s"), at: 0, [1, 2, 3])
    try volume.makeDirectory("/d")
    try volume.unmount()
    return device
  }

  @Test(
    .timeLimit(.minutes(4)),
    arguments: [
      ("INODE_ITEM", nil), ("EXTENT_DATA", nil), ("EXTENT_DATA", "zstd"), ("EXTENT_DATA", "lzo"),
      ("EXTENT_DATA", "zlib"),
    ] as [(String, String?)])
  func numbersNearTheLargest(item: String, compression: String?) throws {
    let forge = try FieldForge(Self.image(compression: compression))
    let fields = forge.fields.filter {
      $0.name.hasPrefix("tree 5 ") && $0.name.contains(item) && !$0.name.contains("key")
        && $0.size == 8
    }
    #expect(fields.count > 10)
    for field in fields {
      for value in Self.hostile where value != field.value {
        try Self.work(on: forge.forged([(field, value)]))
      }
    }
  }

  /// Where an extent begins in its file.
  @Test(.timeLimit(.minutes(4)))
  func keysNearTheLargest() throws {
    let forge = try FieldForge(Self.image())
    let fields = forge.fields.filter {
      $0.name.hasPrefix("tree 5 EXTENT_DATA") && $0.name.hasSuffix("key + 0x9")
    }
    #expect(fields.count >= 4)
    for field in fields {
      for value in Self.hostile where value != field.value {
        try Self.work(on: forge.forged([(field, value)]))
      }
    }
  }

  /// What was seen to trap: bytes are buffered in a file whose size on disk is near 2^64, and
  /// somebody asks for its attributes.
  @Test(.timeLimit(.minutes(1)), arguments: [UInt64.max, UInt64.max - 4095, 1 << 63])
  func sizeThatCannotBeRoundedUp(size: UInt64) throws {
    let forge = try FieldForge(Self.image())
    let field = try #require(
      forge.fields.first { $0.name.contains("INODE_ITEM") && $0.value == 605_000 })
    let volume = try Volume.mountForTest(try forge.forged([(field, size)]))
    let id = try volume.find("/f")
    try volume.writeBytes(id, at: 0, [9])
    _ = try volume.attributes.attributes(of: id)
    #expect(try volume.readBytes(id, at: 0, count: 2) == [9, 7])
    try volume.unmount()
  }

  /// All that can be done with a file's content, at both ends of it.
  private static func work(on device: MemoryDevice) throws {
    guard let volume = attempt({ try Volume.mountForTest(device) }) else { return }
    for path in ["/f", "/s", "/d"] {
      guard let id = attempt({ try volume.find(path) }) else { continue }
      _ = attempt { try volume.attributes.attributes(of: id) }
      let size = attempt { try volume.attributes.attributes(of: id).item.size } ?? 0
      let end = min(size, Format.largestFileSize)
      for offset in [0, 4095, 262_000, 409_000, 600_000, end - min(end, 5000)] {
        _ = attempt { try volume.readBytes(id, at: offset, count: 20_000) }
        _ = attempt { try volume.content.seek(id, from: offset, .data) }
        _ = attempt { try volume.content.seek(id, from: offset, .hole) }
      }
      for offset in [100, 401_000, end, end - min(end, 3)] {
        _ = attempt { try volume.writeBytes(id, at: offset, [1, 2, 3, 4, 5]) }
        _ = attempt { try volume.attributes.attributes(of: id) }
      }
      volume.files.checkInvariants(turn: 0)
      volume.files.flushAll()
      _ = attempt { try volume.content.allocate(id, .punchHole, offset: 8192, length: 300_000) }
      _ = attempt { try volume.content.allocate(id, .zeroRange, offset: 5000, length: 30_000) }
      _ = attempt { try volume.content.allocate(id, .keepSize, offset: 700_000, length: 10_000) }
      for size in [1 << 40, 450_000, 3, 10_000, 0] as [UInt64] {
        var changes = AttributeChanges()
        changes.size = size
        _ = attempt { try volume.attributes.setAttributes(id, changes) }
      }
      _ = attempt { try volume.synchronizeAll() }
      _ = attempt { try volume.remove(path) }
    }
    _ = attempt { try volume.synchronizeAll() }
    try? volume.unmount()
  }

  private static func attempt<R>(_ body: () throws -> R) -> R? { try? body() }
}

/// What old kernels wrote into ram_bytes of extents that are not compressed.
@Suite(.timeLimit(.minutes(10))) struct FilesRamBytesTests {
  /// Pieces that we write anew get the length of the extent.
  @Test(.timeLimit(.minutes(1)), arguments: [0x20000, 0x80000])
  func wrongNumberIsNotWrittenAnew(wrong: UInt64) throws {
    let device = try TestImage.make(sizeBytes: 256 << 20)
    var volume = try Volume.mountForTest(device)
    var id = try volume.makeFile("/f")
    try volume.writeBytes(id, at: 0, [UInt8](repeating: 7, count: 262_144))
    try volume.unmount()
    let forge = try FieldForge(device)
    let field = try #require(
      forge.fields.first {
        $0.name.hasPrefix("tree 5 EXTENT_DATA") && $0.name.hasSuffix("+ 0x8")
          && $0.value == 262_144
      })
    let forged = try forge.forged([(field, wrong)])

    volume = try Volume.mountForTest(forged)
    id = try volume.find("/f")
    #expect(try Self.ramBytes(volume, id) == [wrong])
    #expect(
      try volume.readBytes(id, at: 0, count: 1 << 20) == [UInt8](repeating: 7, count: 262_144))
    try volume.writeBytes(id, at: 32768, [UInt8](repeating: 8, count: 4096))
    volume.files.flushAll()
    #expect(try Self.ramBytes(volume, id) == [262_144, 4096, 262_144])
    try volume.unmount()
    try CacheJudge.check(forged)
  }

  /// As the items say, whatever is made of it in memory.
  private static func ramBytes(_ volume: Volume, _ id: InodeID) throws -> [UInt64] {
    let inode = try volume.content.file(id)
    var found: [UInt64] = []
    try inode.tree.forEach(from: inode.extentKey(0), through: inode.extentKey(.max)) {
      (_, bytes) throws(FilesystemError) in
      found.append(try FileExtentItem(bytes).ramBytes)
      return true
    }
    return found
  }
}

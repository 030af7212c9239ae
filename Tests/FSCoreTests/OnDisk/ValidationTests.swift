import Testing

@testable import FSCore

/// What is read from the device is checked before anything decodes it.
@Suite(.timeLimit(.minutes(10))) struct ValidationTests {
  typealias Fixture = ValidationFixture

  @Test func rightLeavesPass() throws {
    for (tree, items) in Fixture.trees { try Fixture.check(Fixture.block(tree, items)) }
    // And an empty one where that may be.
    try Fixture.check(Fixture.block(.checksum, []))
    try Fixture.check(Fixture.block(257, []))
  }

  /// The item that names the default subvolume, which may be any tree; elsewhere a name may not.
  @Test func defaultSubvolume() throws {
    func check(_ tree: TreeID, _ directory: ObjectID, leadsTo id: UInt64) throws {
      let name = Fixture.hash("default")
      let entry = Fixture.entry("default", .directory, Key(ObjectID(id), .rootItem, 0))
      try Fixture.check(
        Fixture.block(
          tree,
          [
            (Key(directory, .inodeItem, 0), Fixture.inode(mode: 0o040755)),
            (Key(directory, .dirItem, name), entry),
          ]))
    }
    for id in [5, 7, 300, .max] as [UInt64] { try check(.root, .rootTreeDirectory, leadsTo: id) }
    try check(.topLevel, .firstFree, leadsTo: 300)
    #expect(throws: FilesystemError.self) { try check(.topLevel, .firstFree, leadsTo: 7) }
    #expect(throws: FilesystemError.self) { try check(.topLevel, .rootTreeDirectory, leadsTo: 7) }
    #expect(throws: FilesystemError.self) { try check(.root, .firstFree, leadsTo: 7) }
  }

  /// One thing made wrong in a right leaf.
  struct Damage: Sendable, CustomStringConvertible {
    let description: String
    let tree: TreeID
    let key: Key
    let change: @Sendable (inout Key, inout [UInt8]) -> Void

    init(
      _ description: String, _ tree: TreeID, _ key: Key,
      _ change: @escaping @Sendable (inout Key, inout [UInt8]) -> Void
    ) {
      self.description = description
      self.tree = tree
      self.key = key
      self.change = change
    }

    /// A number at an offset of the item becomes another.
    static func number<Number: FixedWidthInteger & BitwiseCopyable & Sendable>(
      _ description: String, _ tree: TreeID, _ key: Key, _ offset: Int, _ value: Number
    ) -> Damage {
      Damage(description, tree, key) { _, data in
        data.withUnsafeMutableBytes { $0.store(value, at: offset) }
      }
    }

    static func keyOffset(
      _ description: String, _ tree: TreeID, _ key: Key, _ value: UInt64
    ) -> Damage {
      Damage(description, tree, key) { key, _ in key.offset = value }
    }

    static func size(
      _ description: String, _ tree: TreeID, _ key: Key, by difference: Int
    ) -> Damage {
      Damage(description, tree, key) { _, data in
        data.removeLast(max(-difference, 0))
        data += Array(repeating: 0, count: max(difference, 0))
      }
    }
  }

  @Test(arguments: fileDamages + extentDamages + layoutDamages)
  func wrongItemsAreRefused(_ damage: Damage) throws {
    var items = try #require(Fixture.trees.first { $0.tree == damage.tree }).items
    let index = try #require(items.firstIndex { $0.key == damage.key })
    var (key, data) = items[index]
    damage.change(&key, &data)
    items[index] = (key, data)
    do {
      try Fixture.check(Fixture.block(damage.tree, items))
      Issue.record("accepted: \(damage)")
    } catch {
      // The message names the item, and the rule in the words that the damage is listed by.
      let text = "\(error)"
      #expect(text.contains(damage.description), "\(text)")
      #expect(text.contains("\(key)"), "\(text)")
    }
  }

  private static let file = Key(257, .inodeItem, 0)
  private static let name = Key(256, .dirItem, Fixture.hash("a"))
  private static let index = Key(256, .dirIndex, 2)
  private static let attribute = Key(257, .xattrItem, Fixture.hash("user.x"))
  private static let data = Key(257, .extentData, 0)
  private static let more = Key(257, .extentData, 8192)
  private static let inline = Key(258, .extentData, 0)

  private static let fileDamages: [Damage] = [
    .keyOffset("whose key has an offset", .topLevel, file, 1),
    .size("an inode item of the wrong size", .topLevel, file, by: -1),
    .number("from a future transaction", .topLevel, file, 0, UInt64(22)),
    .number("changed in a future transaction", .topLevel, file, 8, UInt64.max),
    .number("impossible mode", .topLevel, file, 0x34, UInt32(0o644)),
    .number("impossible mode", .topLevel, file, 0x34, UInt32(0o1100644)),
    .number("a directory with several links", .topLevel, Key(256, .inodeItem, 0), 0x28, UInt32(2)),
    .number("unknown flags", .topLevel, file, 0x40, UInt64(0x1000)),
    Damage("impossible number", .root, Key(256, .inodeItem, 0)) { key, _ in key.objectID = 17 },
    .size("reference that is too short", .topLevel, Key(257, .inodeRef, 256), by: -1),
    .number("passes the end", .topLevel, Key(257, .inodeRef, 256), 8, UInt16(2)),
    .size("cut off", .topLevel, Key(257, .inodeExtref, 99), by: 3),
    .number("passes the end", .topLevel, Key(257, .inodeExtref, 99), 16, UInt16.max),
    .size("without an entry", .topLevel, index, by: -31),
    .size("cut off", .topLevel, name, by: 1),
    .number("passes the end", .topLevel, name, 0x1b, UInt16(200)),
    .number("impossible name length", .topLevel, index, 0x1b, UInt16(0)),
    .number("unknown type", .topLevel, name, 0x1d, UInt8(9)),
    .number("unknown type", .topLevel, name, 0x1d, UInt8(0)),
    .number("wrong type for its item", .topLevel, name, 0x1d, UInt8(8)),
    .number("wrong type for its item", .topLevel, attribute, 0x1d, UInt8(1)),
    .number("leads to an impossible inode", .topLevel, name, 0, UInt64(3)),
    .number("leads to an impossible inode", .topLevel, name, 9, UInt64(3)),
    .number("leads nowhere", .topLevel, name, 8, UInt8(12)),
    .number("leads nowhere", .topLevel, attribute, 0, UInt64(1)),
    Damage("leads to no subvolume", .topLevel, name) { _, data in
      data[0] = 7
      data[1] = 0
      data[8] = ItemType.rootItem.rawValue
    },
    .number("its key's hash", .topLevel, name, 30, UInt8(ascii: "b")),
    .keyOffset("its key's hash", .topLevel, attribute, 5),
    Damage("several entries", .topLevel, index) { _, data in data += data },
    Damage("an item without its inode", .topLevel, Key(257, .inodeRef, 256)) { key, data in
      key = Key(259, .inodeRef, 256)
      data = Fixture.reference(10, "b")
    },
    .keyOffset("at an offset that is not aligned", .topLevel, data, 5),
    .size("too short", .topLevel, data, by: -33),
    .size("file extent item of the wrong size", .topLevel, data, by: 1),
    .number("unknown compression", .topLevel, data, 0x10, UInt8(4)),
    .number("encrypted", .topLevel, data, 0x11, UInt8(1)),
    .number("unknown type", .topLevel, data, 0x14, UInt8(3)),
    .number("numbers that are not aligned", .topLevel, data, 8, UInt64(8191)),
    .number("numbers that are not aligned", .topLevel, data, 0x15, UInt64(1)),
    .number("without length", .topLevel, data, 0x2d, UInt64(0)),
    .number("stands nowhere", .topLevel, data, 0x1d, UInt64(0)),
    .number("the largest address", .topLevel, data, 0x15, UInt64.max - 4095),
    .number("leaves its extent", .topLevel, data, 0x25, UInt64(4096)),
    .number("leaves its extent", .topLevel, data, 0x25, UInt64.max - 4095),
    .number("preallocated file extent that is compressed", .topLevel, more, 0x10, UInt8(1)),
    .keyOffset("overlap", .topLevel, more, 4096),
    .keyOffset("beyond the largest offset", .topLevel, more, UInt64.max - 4095),
    .number("inline file extent of the wrong size", .topLevel, inline, 8, UInt64(6)),
    .keyOffset("not at offset 0", .topLevel, inline, 4096),
    .size("inline file extent without data", .topLevel, inline, by: -5),
    Damage("a compressed file extent that is too long", .topLevel, data) { _, data in
      data.withUnsafeMutableBytes {
        $0.store(UInt64(1) << 40, at: 8)
        $0.store(UInt8(3), at: 0x10)
      }
    },
    Damage("checksums with an impossible object id", .checksum, sums) { key, _ in
      key.objectID = 1
    },
    .keyOffset("not aligned", .checksum, sums, (1 << 20) + 1),
    .size("checksum item of the wrong size", .checksum, sums, by: 1),
    .size("checksum item of the wrong size", .checksum, sums, by: -16),
    .keyOffset("beyond the largest address", .checksum, lastSums, UInt64.max - 4095),
    .keyOffset("overlap", .checksum, lastSums, (1 << 20) + 4096),
  ]

  private static let sums = Key(.extentChecksum, .extentCsum, 1 << 20)
  private static let lastSums = Key(.extentChecksum, .extentCsum, (1 << 20) + 16384)
  private static let extent = Key(1_048_576, .extentItem, 8192)
  private static let treeBlock = Key(2_097_152, .metadataItem, 1)
  private static let group = Key(1_048_576, .blockGroupItem, 8 << 20)

  private static let extentDamages: [Damage] = [
    Damage("not aligned", .extent, treeBlock) { key, _ in key.objectID = 2_097_153 },
    .size("too short", .extent, treeBlock, by: -37),
    .number("nothing refers to", .extent, extent, 0, UInt64(0)),
    .number("more references in an extent item", .extent, extent, 0, UInt64(2)),
    .number("from a future transaction", .extent, extent, 8, UInt64(22)),
    .number("unknown flags", .extent, extent, 16, UInt64(3)),
    .number("unknown flags", .extent, extent, 16, UInt64(0)),
    .number("unknown flags", .extent, treeBlock, 16, UInt64(0x12)),
    .number("full back reference of data", .extent, extent, 16, UInt64(0x101)),
    .number("METADATA_ITEM of data", .extent, treeBlock, 16, UInt64(1)),
    .keyOffset("impossible length", .extent, extent, 0),
    .keyOffset("impossible length", .extent, extent, 100),
    .keyOffset("above level 7", .extent, treeBlock, 8),
    Damage("overlap", .extent, treeBlock) { key, _ in key.objectID = 1_052_672 },
    .number("out of order", .extent, extent, 24 + 29, UInt8(176)),
    .number("unknown type", .extent, treeBlock, 24 + 27, UInt8(190)),
    .number("wrong kind", .extent, treeBlock, 24, UInt8(178)),
    .number("out of order", .extent, treeBlock, 25, UInt64(4)),
    .number("out of order", .extent, extent, 24 + 9, inodeAfterTheLast),
    .number("counts nothing", .extent, extent, 24 + 25, UInt32(0)),
    .number("offset that is not aligned", .extent, extent, 24 + 17, UInt64(1)),
    .number("address that is not aligned", .extent, extent, 24 + 59, UInt64(1)),
    .size("cut off", .extent, treeBlock, by: -1),
    .size("with content", .extent, Key(2_097_152, .treeBlockRef, 258), by: 1),
    .keyOffset("not aligned", .extent, Key(2_097_152, .sharedBlockRef, 16384), 5),
    .size("wrong size", .extent, Key(1_048_576, .sharedDataRef, 65536), by: 1),
    .number("counts nothing", .extent, Key(1_048_576, .sharedDataRef, 65536), 0, UInt32(0)),
    .size("wrong size", .extent, Key(1_048_576, .extentDataRef, 77), by: 1),
    .number("counts nothing", .extent, Key(1_048_576, .extentDataRef, 77), 24, UInt32(0)),
    .size("block group item of the wrong size", .extent, group, by: -1),
    .keyOffset("impossible length", .extent, group, 0),
    .keyOffset("largest address", .extent, group, UInt64.max - 4095),
    .number("unknown chunk tree", .extent, group, 8, UInt64(255)),
    .number("uses more than it has", .extent, group, 0, UInt64(9 << 20)),
    .number("impossible type", .extent, group, 16, UInt64(0)),
    .number("impossible type", .extent, group, 16, UInt64(3)),
    .number("several profiles", .extent, group, 16, UInt64(0x31)),
    .number("unknown type", .extent, group, 16, UInt64(0x1001)),
  ]

  /// An inode whose reference would stand after the second one of the fixture.
  private static let inodeAfterTheLast: UInt64 = (302...10_000).first {
    FormatHash.dataReference(root: 5, inode: ObjectID($0), offset: 4096)
      < FormatHash.dataReference(
        root: 5, inode: ObjectID(Fixture.inodesByHash[1]), offset: 4096)
  }!

  private static let chunk = Key(.firstChunkTree, .chunkItem, 1 << 20)
  private static let device = Key(.devItems, .devItem, 1)
  private static let piece = Key(1, .devExtent, 1 << 23)
  private static let root = Key(257, .rootItem, 12)

  private static let layoutDamages: [Damage] = [
    .size("wrong size", .chunk, chunk, by: -32),
    .size("too short", .chunk, chunk, by: -64),
    .number("not aligned", .chunk, chunk, 0, UInt64(5)),
    .number("not aligned", .chunk, chunk, 0, UInt64(0)),
    .number("largest address", .chunk, chunk, 0, UInt64.max - 4095),
    .number("unknown stripe length", .chunk, chunk, 0x10, UInt64(4096)),
    .number("another sector size", .chunk, chunk, 0x28, UInt32(512)),
    .number("number of stripes", .chunk, chunk, 0x18, UInt64(4)),
    .number("mixed block group without", .chunk, chunk, 0x18, UInt64(0x25)),
    .number("impossible stripe", .chunk, chunk, 0x38, UInt64.max - 4095),
    Damage("impossible object id", .chunk, chunk) { key, _ in key.objectID = 300 },
    .size("device item of the wrong size", .chunk, device, by: 1),
    .number("another device's number", .chunk, device, 0, UInt64(2)),
    .number("uses more than it has", .chunk, device, 0x10, UInt64(2 << 30)),
    .size("device extent of the wrong size", .device, piece, by: 1),
    .number("unknown chunk tree", .device, piece, 0, UInt64(4)),
    .number("not aligned", .device, piece, 0x18, UInt64(0)),
    .number("not aligned", .device, piece, 0x10, UInt64(5)),
    .number("overlap", .device, Key(1, .devExtent, 2 << 23), 0, UInt64(3)).after {
      $0 = Key(1, .devExtent, 12 << 20)
    },
    .size("root item of the wrong size", .root, root, by: -1),
    .number("future transaction", .root, root, 0xa0, UInt64(22)),
    .number("future transaction", .root, root, 0xef, UInt64(22)),
    .number("not aligned", .root, root, 0xb0, UInt64(1)),
    .number("above level 7", .root, root, 0xee, UInt8(8)),
    .number("above level 7", .root, root, 0xed, UInt8(200)),
    .number("unknown flags", .root, root, 0xd0, UInt64(2)),
    .size("root reference of the wrong size", .root, Key(5, .rootRef, 257), by: 1),
    .size("root reference that is too short", .root, Key(5, .rootRef, 257), by: -3),
  ]
}

extension ValidationTests.Damage {
  /// The same, with the item's key changed too.
  fileprivate func after(_ rekey: @escaping @Sendable (inout Key) -> Void) -> Self {
    let first = change
    return Self(description, tree, key) { key, data in
      first(&key, &data)
      rekey(&key)
    }
  }
}

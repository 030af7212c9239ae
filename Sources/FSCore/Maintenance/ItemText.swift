/// Keys and items in words, a line each.
package enum ItemText {
  /// `257 INODE_ITEM 0`
  package static func key(_ key: Key) -> String {
    "\(object(key.objectID)) \(type(key.type)) \(offset(key.offset))"
  }

  /// Special object ids by name, as `−5 ORPHAN`, others by number.
  package static func object(_ id: ObjectID) -> String {
    let number = Int64(bitPattern: id.rawValue)
    guard number < 0, number >= -255 else { return "\(id)" }
    return specialObjects[number] ?? "\(number)"
  }

  private static let specialObjects: [Int64: String] = [
    -4: "BALANCE", -5: "ORPHAN", -6: "TREE_LOG", -7: "TREE_LOG_FIXUP", -8: "TREE_RELOC",
    -9: "DATA_RELOC_TREE", -10: "EXTENT_CSUM", -11: "FREE_SPACE", -12: "FREE_INO",
    -255: "MULTIPLE",
  ]

  private static func offset(_ offset: UInt64) -> String {
    offset > UInt64.max - 255 ? "\(Int64(bitPattern: offset))" : "\(offset)"
  }

  package static func type(_ type: ItemType) -> String {
    types[type.rawValue] ?? "\(type.rawValue)"
  }

  private static let types: [UInt8: String] = [
    0: "UNTYPED", 1: "INODE_ITEM", 12: "INODE_REF", 13: "INODE_EXTREF", 24: "XATTR_ITEM",
    36: "VERITY_DESC_ITEM", 37: "VERITY_MERKLE_ITEM", 48: "ORPHAN_ITEM", 60: "DIR_LOG_ITEM",
    72: "DIR_LOG_INDEX", 84: "DIR_ITEM", 96: "DIR_INDEX", 108: "EXTENT_DATA",
    128: "EXTENT_CSUM", 132: "ROOT_ITEM", 144: "ROOT_BACKREF", 156: "ROOT_REF",
    168: "EXTENT_ITEM", 169: "METADATA_ITEM", 176: "TREE_BLOCK_REF", 178: "EXTENT_DATA_REF",
    182: "SHARED_BLOCK_REF", 184: "SHARED_DATA_REF", 192: "BLOCK_GROUP_ITEM",
    198: "FREE_SPACE_INFO", 199: "FREE_SPACE_EXTENT", 200: "FREE_SPACE_BITMAP",
    204: "DEV_EXTENT", 216: "DEV_ITEM", 228: "CHUNK_ITEM", 240: "QGROUP_STATUS",
    242: "QGROUP_INFO", 244: "QGROUP_LIMIT", 246: "QGROUP_RELATION", 248: "TEMPORARY_ITEM",
    249: "PERSISTENT_ITEM", 250: "DEV_REPLACE", 251: "UUID_KEY_SUBVOL",
    252: "UUID_KEY_RECEIVED_SUBVOL", 253: "STRING_ITEM",
  ]

  /// The trees that have names, with other names by which people ask for them.
  package static let trees: [(tree: TreeID, names: [String])] = [
    (.root, ["root"]), (.extent, ["extent"]), (.chunk, ["chunk"]), (.device, ["dev", "device"]),
    (.topLevel, ["fs", "top-level"]), (.checksum, ["csum", "checksum"]), (.quota, ["quota"]),
    (.uuid, ["uuid"]), (.freeSpace, ["free-space"]), (.blockGroup, ["block-group"]),
    (.log, ["log"]), (.relocation, ["reloc"]), (.dataRelocation, ["data-reloc"]),
  ]

  /// A tree by its name or number, which may be negative; nil when it is neither.
  package static func tree(named text: String) -> TreeID? {
    let name = text.lowercased()
    if let known = trees.first(where: { $0.names.contains(name) }) { return known.tree }
    if let number = UInt64(text) { return TreeID(number) }
    return Int64(text).map { TreeID(UInt64(bitPattern: $0)) }
  }

  package static func name(of tree: TreeID) -> String {
    trees.first { $0.tree == tree }.map { "\($0.names[0]) tree" } ?? "subvolume \(tree)"
  }

  /// A name in quotes. Bytes that are no printable text are escaped.
  package static func quoted(_ bytes: [UInt8]) -> String {
    var text = "\""
    let decoded = String(decoding: bytes, as: UTF8.self)
    guard decoded.utf8.elementsEqual(bytes) else {
      for byte in bytes { text += byte >= 0x20 && byte < 0x7f ? letter(byte) : escape(byte) }
      return text + "\""
    }
    for scalar in decoded.unicodeScalars {
      switch scalar.value {
      case 0..<0x20, 0x7f..<0xa0: text += escape(UInt8(scalar.value))
      case 0x22, 0x5c: text += "\\\(scalar)"
      default: text.unicodeScalars.append(scalar)
      }
    }
    return text + "\""
  }

  private static func letter(_ byte: UInt8) -> String { String(UnicodeScalar(byte)) }

  private static func escape(_ byte: UInt8) -> String {
    let digits = String(byte, radix: 16)
    return "\\x" + (digits.count == 1 ? "0" : "") + digits
  }
}

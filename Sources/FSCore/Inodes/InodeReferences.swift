/// The names of an inode, as the inode itself keeps them: INODE_REF items, one for each
/// directory, and INODE_EXTREF items for what does not fit there (format §7.3, §7.4).
enum InodeReferences {
  static let fixedSize = 10
  static let extendedFixedSize = 18

  /// Where the reference for one name stands.
  struct Place {
    let key: Key
    let range: Range<Int>
    /// The DIR_INDEX number of the name.
    let index: UInt64
  }

  private static func key(_ inode: ObjectID, in directory: ObjectID) -> Key {
    Key(inode, .inodeRef, directory.rawValue)
  }

  private static func extendedKey(
    _ inode: ObjectID, in directory: ObjectID, _ name: [UInt8]
  ) -> Key {
    Key(inode, .inodeExtref, FormatHash.extendedReference(parent: directory, name: name))
  }

  // Looking.

  /// The reference of `inode` for `name` in `directory`; nil when it has none.
  static func find(
    _ name: [UInt8], of inode: Inode, in directory: ObjectID, _ edits: inout ItemEdits
  ) throws(FilesystemError) -> Place? {
    let key = key(inode.number, in: directory)
    let place = try edits.find(in: key, inode.tree) { (bytes) throws(FilesystemError) in
      try find(name, in: bytes, key)
    }
    if let place { return place }

    let extended = extendedKey(inode.number, in: directory, name)
    return try edits.find(in: extended, inode.tree) { (bytes) throws(FilesystemError) in
      try findExtended(name, in: directory, bytes, extended)
    }
  }

  private static func find(
    _ name: [UInt8], in bytes: RawSpan, _ key: Key
  ) throws(FilesystemError) -> Place? {
    var offset = 0
    while offset < bytes.byteCount {
      let end = try entryEnd(bytes, offset, fixedSize)
      if bytes.equals(name, at: offset + fixedSize, count: end - offset - fixedSize) {
        return Place(key: key, range: offset..<end, index: bytes.u64(offset))
      }
      offset = end
    }
    return nil
  }

  private static func findExtended(
    _ name: [UInt8], in directory: ObjectID, _ bytes: RawSpan, _ key: Key
  ) throws(FilesystemError) -> Place? {
    var offset = 0
    while offset < bytes.byteCount {
      let end = try entryEnd(bytes, offset, extendedFixedSize)
      let nameStart = offset + extendedFixedSize
      if bytes.u64(offset) == directory.rawValue,
        bytes.equals(name, at: nameStart, count: end - nameStart)
      {
        return Place(key: key, range: offset..<end, index: bytes.u64(offset + 8))
      }
      offset = end
    }
    return nil
  }

  /// Where the entry at `offset` ends: its last fixed field is the length of the name.
  private static func entryEnd(
    _ bytes: RawSpan, _ offset: Int, _ fixedSize: Int
  ) throws(FilesystemError) -> Int {
    guard offset + fixedSize <= bytes.byteCount else {
      throw .corrupt("an inode reference that passes the end of its item")
    }
    let end = offset + fixedSize + Int(bytes.u16(offset + fixedSize - 2))
    guard end <= bytes.byteCount else {
      throw .corrupt("an inode reference that passes the end of its item")
    }
    return end
  }

  /// The directory that a directory stands in; nil when it has no name.
  static func parent(of inode: Inode) throws(FilesystemError) -> ObjectID? {
    try inode.tree.findFirst(atLeast: Key(inode.number, .inodeRef, 0)) {
      (key, bytes) throws(FilesystemError) -> ObjectID? in
      guard key.objectID == inode.number else { return nil }
      if key.type == .inodeRef { return ObjectID(rawValue: key.offset) }
      guard key.type == .inodeExtref, bytes.byteCount >= extendedFixedSize else { return nil }
      return ObjectID(rawValue: bytes.u64(0))
    } ?? nil
  }

  // Changing.

  /// Inserts the item of a new inode, and its first reference.
  static func insertNew(
    _ inode: Inode, _ name: [UInt8], in directory: ObjectID, index: UInt64,
    _ handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let item = inode.attributes
    try inode.tree.insert(
      (inode.itemKey, InodeItem.size),
      (key(inode.number, in: directory), fixedSize + name.count), in: handle,
      { item.encode(into: $0) },
      { bytes in
        bytes.store(index, at: 0)
        bytes.store(UInt16(name.count), at: 8)
        bytes.store(name, at: fixedSize)
      })
  }

  /// Prepares removing a reference. Returns the index of the name; nil when there is none.
  static func remove(
    _ name: [UInt8], of inode: Inode, in directory: ObjectID, _ edits: inout ItemEdits
  ) throws(FilesystemError) -> UInt64? {
    guard let place = try find(name, of: inode, in: directory, &edits) else { return nil }
    try edits.remove(place.range, from: place.key, inode.tree)
    return place.index
  }

  /// Prepares adding a reference. Throws `.tooManyLinks` when it fits nowhere.
  static func add(
    _ name: [UInt8], of inode: Inode, in directory: ObjectID, index: UInt64,
    _ edits: inout ItemEdits
  ) throws(FilesystemError) {
    let number = inode.number
    let longest = inode.subvolume.longestSharedItem
    let key = key(number, in: directory)
    let used = try edits.bytes(of: key, inode.tree).count
    if used == 0 || used + fixedSize + name.count <= longest {
      var entry = [UInt8](repeating: 0, count: fixedSize + name.count)
      entry.withUnsafeMutableBytes { bytes in
        bytes.store(index, at: 0)
        bytes.store(UInt16(name.count), at: 8)
        bytes.store(name, at: fixedSize)
      }
      return try edits.append(entry, to: key, inode.tree)
    }

    guard inode.subvolume.geometry.features.contains(.extendedInodeRef) else {
      throw .tooManyLinks
    }
    let extended = extendedKey(number, in: directory, name)
    let usedThere = try edits.bytes(of: extended, inode.tree).count
    guard usedThere == 0 || usedThere + extendedFixedSize + name.count <= longest else {
      throw .tooManyLinks
    }
    var entry = [UInt8](repeating: 0, count: extendedFixedSize + name.count)
    entry.withUnsafeMutableBytes { bytes in
      bytes.store(directory.rawValue, at: 0)
      bytes.store(index, at: 8)
      bytes.store(UInt16(name.count), at: 16)
      bytes.store(name, at: extendedFixedSize)
    }
    try edits.append(entry, to: extended, inode.tree)
  }
}

extension RawSpan {
  /// Whether the `count` bytes at `offset` are `name`.
  @inline(__always)
  func equals(_ name: [UInt8], at offset: Int, count: Int) -> Bool {
    guard count == name.count else { return false }
    return extracting(offset..<(offset + count)).withUnsafeBytes { stored in
      name.withUnsafeBytes { stored.elementsEqual($0) }
    }
  }
}

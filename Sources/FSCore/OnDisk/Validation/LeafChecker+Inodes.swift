/// Rules of the items that describe files and directories.
extension LeafChecker {
  func checkInode(_ key: Key, _ data: UnsafeRawBufferPointer) throws(BrokenRule) {
    let number = key.objectID
    // Apart from files there are the root tree's directory and the obsolete inode cache (−12).
    try require(
      number >= .firstFree && number <= .lastFree
        || number == .rootTreeDirectory || number.rawValue == UInt64(bitPattern: -12),
      "an inode with an impossible number")
    try require(key.offset == 0, "an inode item whose key has an offset")
    try require(data.count == InodeItem.size, "an inode item of the wrong size")

    try require(data.u64(0) <= newestGeneration, "an inode from a future transaction")
    try require(data.u64(8) <= newestGeneration, "an inode changed in a future transaction")

    let mode = data.u32(0x34)
    try require(
      mode & ~0o177777 == 0 && EntryType(mode: mode) != nil, "an inode with an impossible mode")
    try require(
      mode & 0o170000 != 0o040000 || data.u32(0x28) <= 1, "a directory with several links")
    let flags = data.u64(0x40) & 0xffff_ffff
    try require(flags & ~InodeFlags.known.rawValue == 0, "an inode with unknown flags")
  }

  /// INODE_REF and INODE_EXTREF: `fixedSize` bytes, of which the last two count the name that
  /// follows.
  func checkInodeReferences(
    _ data: UnsafeRawBufferPointer, fixedSize: Int
  ) throws(BrokenRule) {
    try require(data.count > fixedSize, "an inode reference that is too short")
    var offset = 0
    while offset < data.count {
      try require(data.count - offset >= fixedSize, "an inode reference that is cut off")
      offset += fixedSize + Int(data.u16(offset + fixedSize - 2))
    }
    try require(offset == data.count, "an inode reference that passes the end of its item")
  }

  func checkDirectoryEntries(
    _ key: Key, _ data: UnsafeRawBufferPointer
  ) throws(BrokenRule) {
    let isAttribute = key.type == .xattrItem
    let fixedSize = DirectoryEntry.fixedSize
    try require(!data.isEmpty, "a directory item without an entry")
    var offset = 0
    while offset < data.count {
      try require(data.count - offset >= fixedSize, "a directory entry that is cut off")
      let valueLength = Int(data.u16(offset + 0x19))
      let nameLength = Int(data.u16(offset + 0x1b))
      let type = data.u8(offset + 0x1d)
      let end = offset + fixedSize + nameLength + valueLength
      try require(end <= data.count, "a directory entry that passes the end of its item")

      try require(
        nameLength >= 1 && nameLength <= Format.maximumNameLength,
        "a directory entry with an impossible name length")
      try require(type >= 1 && type <= 8, "a directory entry of unknown type")
      try require(
        (type == EntryType.extendedAttribute.rawValue) == isAttribute,
        "a directory entry of the wrong type for its item")
      try require(isAttribute || valueLength == 0, "a directory entry with data")
      try checkLocation(
        data, at: offset, isAttribute: isAttribute,
        namesDefault: owner == .root && key.objectID == .rootTreeDirectory)
      if key.type != .dirIndex {
        let name = data.part(offset + fixedSize, nameLength)
        let hash = UInt64(FormatHash.update(0xffff_fffe, name))
        try require(hash == key.offset, "a name that does not have its key's hash")
      }
      try require(
        key.type != .dirIndex || end == data.count, "several entries under one directory index")
      offset = end
    }
  }

  /// The key that an entry leads to.
  ///
  /// - Parameter namesDefault: whether it is that of the default subvolume. It may name any tree, as
  ///   the whole image could not be read for it, and no other default be set.
  @inline(__always)
  private func checkLocation(
    _ data: UnsafeRawBufferPointer, at offset: Int, isAttribute: Bool, namesDefault: Bool
  ) throws(BrokenRule) {
    let key = Key(data, at: offset)
    if key.type == .inodeItem {
      try require(
        key.objectID >= .firstFree && key.objectID <= .lastFree && key.offset == 0,
        "a directory entry that leads to an impossible inode")
    } else if key.type == .rootItem {
      try require(
        namesDefault || TreeID(rawValue: key.objectID.rawValue).isSubvolume,
        "a directory entry that leads to no subvolume")
    } else {
      try require(isAttribute && key == .zero, "a directory entry that leads nowhere")
    }
  }
}

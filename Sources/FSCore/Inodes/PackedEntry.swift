/// Where one of the entries of a DIR_ITEM, DIR_INDEX or XATTR_ITEM stands within its item: the
/// form of `DirectoryEntry` for looking something up, which copies nothing.
struct PackedEntry {
  let offset: Int
  let nameLength: Int
  let valueLength: Int
  let location: Key
  let type: EntryType

  init(_ bytes: RawSpan, at offset: Int) throws(FilesystemError) {
    guard offset + DirectoryEntry.fixedSize <= bytes.byteCount else {
      throw .corrupt("a directory entry that passes the end of its item")
    }
    valueLength = Int(bytes.u16(offset + 0x19))
    nameLength = Int(bytes.u16(offset + 0x1b))
    let end = offset + DirectoryEntry.fixedSize + nameLength + valueLength
    guard end <= bytes.byteCount, let type = EntryType(rawValue: bytes.u8(offset + 0x1d)) else {
      throw .corrupt("a directory entry that passes the end of its item or has no known type")
    }
    self.offset = offset
    self.type = type
    location = Key(bytes, at: offset)
  }

  var nameOffset: Int { offset + DirectoryEntry.fixedSize }
  var valueOffset: Int { nameOffset + nameLength }
  var range: Range<Int> { offset..<(valueOffset + valueLength) }

  /// The entry of this name among those of an item.
  static func find(
    _ name: [UInt8], in bytes: RawSpan
  ) throws(FilesystemError) -> PackedEntry? {
    var offset = 0
    while offset < bytes.byteCount {
      let entry = try PackedEntry(bytes, at: offset)
      if bytes.equals(name, at: entry.nameOffset, count: entry.nameLength) { return entry }
      offset = entry.range.upperBound
    }
    return nil
  }

  static func encode(
    location: Key, transactionID: Generation, type: EntryType, name: [UInt8],
    value: [UInt8] = []
  ) -> [UInt8] {
    let size = DirectoryEntry.fixedSize + name.count + value.count
    return [UInt8](unsafeUninitializedCapacity: size) { buffer, initialized in
      let bytes = UnsafeMutableRawBufferPointer(
        rebasing: UnsafeMutableRawBufferPointer(buffer)[..<size])
      write(
        location: location, transactionID: transactionID, type: type, name: name, value: value,
        into: bytes)
      initialized = size
    }
  }

  /// Writes one entry, all of `bytes`.
  static func write(
    location: Key, transactionID: Generation, type: EntryType, name: [UInt8],
    value: [UInt8] = [], into bytes: UnsafeMutableRawBufferPointer
  ) {
    location.encode(into: bytes)
    bytes.store(transactionID.rawValue, at: 0x11)
    bytes.store(UInt16(value.count), at: 0x19)
    bytes.store(UInt16(name.count), at: 0x1b)
    bytes.store(type.rawValue, at: 0x1d)
    bytes.store(name, at: DirectoryEntry.fixedSize)
    bytes.store(value, at: DirectoryEntry.fixedSize + name.count)
  }
}

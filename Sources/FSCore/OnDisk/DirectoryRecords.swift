/// The type of a directory entry.
package enum EntryType: UInt8, Sendable {
  case regular = 1
  case directory = 2
  case characterDevice = 3
  case blockDevice = 4
  case fifo = 5
  case socket = 6
  case symbolicLink = 7
  case extendedAttribute = 8

  /// The type for the file type bits of `mode`; nil when they are none.
  package init?(mode: UInt32) {
    switch mode & 0o170000 {
    case 0o100000: self = .regular
    case 0o040000: self = .directory
    case 0o020000: self = .characterDevice
    case 0o060000: self = .blockDevice
    case 0o010000: self = .fifo
    case 0o140000: self = .socket
    case 0o120000: self = .symbolicLink
    default: return nil
    }
  }

  /// The file type bits of a mode.
  package var modeBits: UInt32 {
    switch self {
    case .regular, .extendedAttribute: 0o100000
    case .directory: 0o040000
    case .characterDevice: 0o020000
    case .blockDevice: 0o060000
    case .fifo: 0o010000
    case .socket: 0o140000
    case .symbolicLink: 0o120000
    }
  }
}

/// One entry of a DIR_ITEM, DIR_INDEX or XATTR_ITEM: 30 bytes, then the name, then (of an
/// extended attribute) the value. Several may stand in one item.
package struct DirectoryEntry: Sendable {
  package var location: Key
  package var transactionID: Generation
  package var type: EntryType
  package var name: [UInt8]
  /// The value of an extended attribute; else empty.
  package var value: [UInt8]

  package static let fixedSize = 30

  package var size: Int { Self.fixedSize + name.count + value.count }

  package init(
    location: Key, transactionID: Generation, type: EntryType, name: [UInt8], value: [UInt8] = []
  ) {
    self.location = location
    self.transactionID = transactionID
    self.type = type
    self.name = name
    self.value = value
  }

  /// Decodes the entry that begins at `offset`.
  package init(_ bytes: RawSpan, at offset: Int) throws(FilesystemError) {
    guard offset + Self.fixedSize <= bytes.byteCount else {
      throw .corrupt("a directory entry that passes the end of its item")
    }
    let valueLength = Int(bytes.u16(offset + 0x19))
    let nameLength = Int(bytes.u16(offset + 0x1b))
    guard offset + Self.fixedSize + nameLength + valueLength <= bytes.byteCount,
      let type = EntryType(rawValue: bytes.u8(offset + 0x1d))
    else {
      throw .corrupt("a directory entry that passes the end of its item or has no known type")
    }
    location = Key(bytes, at: offset)
    transactionID = Generation(rawValue: bytes.u64(offset + 0x11))
    self.type = type
    name = bytes.array(offset + Self.fixedSize, nameLength)
    value = bytes.array(offset + Self.fixedSize + nameLength, valueLength)
  }

  package func encode(into bytes: UnsafeMutableRawBufferPointer, at offset: Int = 0) {
    location.encode(into: bytes, at: offset)
    bytes.store(transactionID.rawValue, at: offset + 0x11)
    bytes.store(UInt16(value.count), at: offset + 0x19)
    bytes.store(UInt16(name.count), at: offset + 0x1b)
    bytes.store(type.rawValue, at: offset + 0x1d)
    bytes.store(name, at: offset + Self.fixedSize)
    bytes.store(value, at: offset + Self.fixedSize + name.count)
  }

  /// All entries of one item.
  package static func all(in bytes: RawSpan) throws(FilesystemError) -> [DirectoryEntry] {
    var entries: [DirectoryEntry] = []
    var offset = 0
    while offset < bytes.byteCount {
      let entry = try DirectoryEntry(bytes, at: offset)
      entries.append(entry)
      offset += entry.size
    }
    return entries
  }
}

/// The header of a v1 free space cache: 41 bytes, key (−11, 0, block group start).
package struct FreeSpaceHeader: Sendable, Equatable {
  package var location: Key
  package var generation: Generation
  package var entryCount: UInt64
  package var bitmapCount: UInt64

  package static let size = 41

  package init(location: Key, generation: Generation, entryCount: UInt64, bitmapCount: UInt64) {
    self.location = location
    self.generation = generation
    self.entryCount = entryCount
    self.bitmapCount = bitmapCount
  }

  package init(_ bytes: RawSpan) throws(FilesystemError) {
    guard bytes.byteCount == Self.size else {
      throw .corrupt("a free space header of \(bytes.byteCount) bytes")
    }
    location = Key(bytes)
    generation = Generation(rawValue: bytes.u64(0x11))
    entryCount = bytes.u64(0x19)
    bitmapCount = bytes.u64(0x21)
  }

  package func encode(into bytes: UnsafeMutableRawBufferPointer) {
    location.encode(into: bytes)
    bytes.store(generation.rawValue, at: 0x11)
    bytes.store(entryCount, at: 0x19)
    bytes.store(bitmapCount, at: 0x21)
  }
}

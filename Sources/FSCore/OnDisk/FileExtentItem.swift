/// EXTENT_DATA: where a range of a file stands. 53 bytes, or 21 and the data itself when inline.
package struct FileExtentItem: Sendable, Equatable {
  package enum Kind: UInt8, Sendable {
    case inline = 0
    case regular = 1
    case preallocated = 2
  }

  package enum Compression: UInt8, Sendable {
    case none = 0
    case zlib = 1
    case lzo = 2
    case zstd = 3
  }

  package var generation: Generation
  /// Length of the whole extent, uncompressed; of the inline data, uncompressed.
  package var ramBytes: UInt64
  package var compression: Compression
  package var kind: Kind

  /// Start of the whole extent; 0 is a hole. The four that follow are 0 when inline.
  package var diskAddress: LogicalAddress
  package var diskLength: UInt64
  /// Where this item's bytes begin within the uncompressed extent.
  package var offset: UInt64
  /// Length in the file. For an inline item the length of its data, uncompressed.
  package var length: UInt64

  package static let size = 53
  package static let inlineHeaderSize = 21

  package init(
    generation: Generation, kind: Kind, diskAddress: LogicalAddress, diskLength: UInt64,
    ramBytes: UInt64, offset: UInt64, length: UInt64, compression: Compression = .none
  ) {
    self.generation = generation
    self.ramBytes = ramBytes
    self.compression = compression
    self.kind = kind
    self.diskAddress = diskAddress
    self.diskLength = diskLength
    self.offset = offset
    self.length = length
  }

  /// An explicit hole, as file systems without NO_HOLES need them.
  package static func hole(length: UInt64, generation: Generation) -> FileExtentItem {
    FileExtentItem(
      generation: generation, kind: .regular, diskAddress: 0, diskLength: 0, ramBytes: length,
      offset: 0, length: length)
  }

  /// Throws when the bytes are no file extent item; the numbers have been checked when the
  /// leaf was read.
  package init(_ bytes: RawSpan) throws(FilesystemError) {
    guard bytes.byteCount >= Self.inlineHeaderSize else {
      throw .corrupt("a file extent item of \(bytes.byteCount) bytes")
    }
    guard let compression = Compression(rawValue: bytes.u8(0x10)) else {
      throw .corrupt("a file extent with compression \(bytes.u8(0x10))")
    }
    guard let kind = Kind(rawValue: bytes.u8(0x14)) else {
      throw .corrupt("a file extent of type \(bytes.u8(0x14))")
    }
    generation = Generation(rawValue: bytes.u64(0))
    ramBytes = bytes.u64(8)
    self.compression = compression
    self.kind = kind
    guard kind != .inline else {
      diskAddress = 0
      diskLength = 0
      offset = 0
      length = ramBytes
      return
    }
    guard bytes.byteCount == Self.size else {
      throw .corrupt("a file extent item of \(bytes.byteCount) bytes")
    }
    diskAddress = LogicalAddress(rawValue: bytes.u64(0x15))
    diskLength = bytes.u64(0x1d)
    offset = bytes.u64(0x25)
    length = bytes.u64(0x2d)
  }

  /// Writes the 53 bytes of a regular or preallocated item, or the first 21 of an inline one.
  package func encode(into bytes: UnsafeMutableRawBufferPointer) {
    bytes.store(generation.rawValue, at: 0)
    bytes.store(ramBytes, at: 8)
    bytes.store(compression.rawValue, at: 0x10)
    bytes.store(UInt8(0), at: 0x11)
    bytes.store(UInt16(0), at: 0x12)
    bytes.store(kind.rawValue, at: 0x14)
    guard kind != .inline else { return }
    bytes.store(diskAddress.rawValue, at: 0x15)
    bytes.store(diskLength, at: 0x1d)
    bytes.store(offset, at: 0x25)
    bytes.store(length, at: 0x2d)
  }

  package var isHole: Bool { kind != .inline && diskAddress == 0 }

  /// Whether the item refers to an extent that the extent tree knows.
  package var hasExtent: Bool { kind != .inline && diskAddress != 0 }
}

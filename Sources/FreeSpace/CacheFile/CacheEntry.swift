/// One entry of a cache file, as it is on disk: 17 bytes.
///
/// | off | size | field |
/// |---|---|---|
/// | 0 | 8 | logical address of the free range, or of the first sector of the bitmap |
/// | 8 | 8 | length of the range, or free bytes in the bitmap; never 0 |
/// | 16 | 1 | 1 extent, 2 bitmap |
package struct CacheEntry: Equatable {
  package static let byteCount = 17

  package enum Kind: UInt8 {
    case extent = 1
    case bitmap = 2
  }

  package let offset: UInt64
  package let bytes: UInt64
  package let rawKind: UInt8

  /// Nil if the type is unknown.
  package var kind: Kind? { Kind(rawValue: rawKind) }

  package init(offset: UInt64, bytes: UInt64, kind: Kind) {
    self.offset = offset
    self.bytes = bytes
    rawKind = kind.rawValue
  }

  /// Reads the entry at a byte offset that the caller knows to be in the file.
  init(_ file: UnsafeRawBufferPointer, at byte: Int) {
    offset = file.littleEndian(at: byte)
    bytes = file.littleEndian(at: byte + 8)
    rawKind = file[byte + 16]
  }

  func write(to file: UnsafeMutableRawBufferPointer, at byte: Int) {
    file.setLittleEndian(offset, at: byte)
    file.setLittleEndian(bytes, at: byte + 8)
    file[byte + 16] = rawKind
  }
}

/// The entry and bitmap counts and the generation that the cache's header item gives.
package typealias CacheHeader = (
  generation: UInt64, entryCount: UInt64, bitmapCount: UInt64
)

extension UnsafeRawBufferPointer {
  @inline(__always)
  func littleEndian<T: FixedWidthInteger & BitwiseCopyable>(
    at offset: Int, as: T.Type = T.self
  ) -> T {
    precondition(offset >= 0 && offset <= count - MemoryLayout<T>.size)
    return T(littleEndian: loadUnaligned(fromByteOffset: offset, as: T.self))
  }
}

extension UnsafeMutableRawBufferPointer {
  @inline(__always)
  func setLittleEndian<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) {
    precondition(offset >= 0 && offset <= count - MemoryLayout<T>.size)
    storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
  }
}

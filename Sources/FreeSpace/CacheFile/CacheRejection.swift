/// Why a cache must not be believed.
package enum CacheRejection: Error, Equatable {
  /// The group itself cannot be described.
  case invalidGroup(start: UInt64, length: UInt64, sectorSize: UInt64)
  /// The file is not a whole number of pages, or has none or too many.
  case invalidFileSize(bytes: Int)
  /// The header counts no entries although something is free.
  case noEntries
  /// The header counts more than the file can hold.
  case countsDoNotFit(entries: UInt64, bitmaps: UInt64, pages: Int)
  case checksumMismatch(page: Int, stored: UInt32, computed: UInt32)
  case generationMismatch(file: UInt64, header: UInt64)
  case unknownEntryType(entry: Int, type: UInt8)
  case emptyEntry(entry: Int, offset: UInt64)
  case misalignedEntry(entry: Int, offset: UInt64, bytes: UInt64)
  case entryOutsideGroup(entry: Int, offset: UInt64, bytes: UInt64)
  /// The entry's range, or part of it, is free by an earlier entry already.
  case overlappingEntry(entry: Int, offset: UInt64, bytes: UInt64)
  /// A bitmap does not begin where the group has one.
  case misplacedBitmap(entry: Int, offset: UInt64)
  case duplicateBitmap(entry: Int, offset: UInt64)
  case wrongBitmapCount(found: UInt64, header: UInt64)
  case bitmapSizeMismatch(entry: Int, offset: UInt64, listed: UInt64, set: UInt64)
  case bitsBeyondGroup(entry: Int, offset: UInt64)
  /// A bitmap says free what an extent entry says too.
  case overlappingBitmap(entry: Int, offset: UInt64)
  case wrongTotal(found: UInt64, expected: UInt64)
}

extension CacheRejection: CustomStringConvertible {
  package var description: String {
    switch self {
    case .invalidGroup(let start, let length, let sectorSize):
      "a block group at \(start) of \(length) bytes with sectors of \(sectorSize) is not possible"
    case .invalidFileSize(let bytes):
      "a cache file cannot have \(bytes) bytes"
    case .noEntries:
      "the header counts no entries although the group has free space"
    case .countsDoNotFit(let entries, let bitmaps, let pages):
      "\(entries) entries, \(bitmaps) of them bitmaps, do not fit \(pages) pages"
    case .checksumMismatch(let page, let stored, let computed):
      "page \(page): checksum does not match (stored \(hex(stored)), computed \(hex(computed)))"
    case .generationMismatch(let file, let header):
      "the file's generation is \(file), the header's \(header)"
    case .unknownEntryType(let entry, let type):
      "entry \(entry): unknown type \(type)"
    case .emptyEntry(let entry, let offset):
      "entry \(entry): no bytes at \(offset)"
    case .misalignedEntry(let entry, let offset, let bytes):
      "entry \(entry): \(offset)+\(bytes) is not in whole sectors"
    case .entryOutsideGroup(let entry, let offset, let bytes):
      "entry \(entry): \(offset)+\(bytes) lies outside the block group"
    case .overlappingEntry(let entry, let offset, let bytes):
      "entry \(entry): \(offset)+\(bytes) overlaps another entry"
    case .misplacedBitmap(let entry, let offset):
      "entry \(entry): no bitmap can begin at \(offset)"
    case .duplicateBitmap(let entry, let offset):
      "entry \(entry): second bitmap at \(offset)"
    case .wrongBitmapCount(let found, let header):
      "\(found) bitmap entries, the header counts \(header)"
    case .bitmapSizeMismatch(let entry, let offset, let listed, let set):
      "entry \(entry): bitmap at \(offset) has \(set) free bytes, its entry says \(listed)"
    case .bitsBeyondGroup(let entry, let offset):
      "entry \(entry): bitmap at \(offset) has bits beyond the block group"
    case .overlappingBitmap(let entry, let offset):
      "entry \(entry): bitmap at \(offset) overlaps another entry"
    case .wrongTotal(let found, let expected):
      "\(found) bytes are listed as free, \(expected) are"
    }
  }

  private func hex(_ value: UInt32) -> String { "0x" + String(value, radix: 16) }
}

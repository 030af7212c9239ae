import CCodecs
import FreeSpace
import Testing

let kib: UInt64 = 1 << 10
let mib: UInt64 = 1 << 20
let gib: UInt64 = 1 << 30
let sector: UInt64 = 4096

func crc32c(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
  ~ccodecs_crc32c(~0, bytes.baseAddress, bytes.count)
}

struct ByteRange: Equatable {
  var offset: UInt64
  var length: UInt64
}

extension FreeSpaceIndex {
  var ranges: [ByteRange] {
    var found: [ByteRange] = []
    forEachRange { found.append(ByteRange(offset: $0, length: $1)) }
    return found
  }

  static func wholly(free length: UInt64, start: UInt64 = 0) throws -> FreeSpaceIndex {
    let index = FreeSpaceIndex(start: start, length: length, sectorSize: sector)
    try index.add(offset: start, length: length)
    return index
  }
}

/// A cache file in memory with the header that belongs to it.
struct CacheFile {
  var bytes: [UInt8]
  var header: CacheHeader
  var summary: CacheSummary
  let groupStart: UInt64
  let groupLength: UInt64
  let sectorSize: UInt64

  var pageCount: Int { bytes.count / CacheLayout.pageSize }

  init(
    of index: FreeSpaceIndex, additional: [(offset: UInt64, length: UInt64)] = [],
    generation: UInt64 = 7, pageCount: Int? = nil
  ) throws(FreeSpaceError) {
    let count = pageCount ?? Int(CacheLayout.pageCount(forGroupLength: index.length))
    // Not zero: the encoder has to leave nothing of what was there.
    bytes = Array(repeating: 0xa5, count: count * CacheLayout.pageSize)
    groupStart = index.start
    groupLength = index.length
    sectorSize = index.sectorSize
    let encoder = try CacheEncoder(index: index, additional: additional, pageCount: count)
    summary = bytes.withUnsafeMutableBytes {
      encoder.encode(generation: generation, into: $0, crc32c: crc32c)
    }
    header = (generation, summary.entryCount, summary.bitmapCount)
  }

  func decode(expecting freeBytes: UInt64? = nil) throws(CacheRejection) -> FreeSpaceIndex {
    var result: Result<FreeSpaceIndex, CacheRejection>?
    bytes.withUnsafeBytes { pages in
      result = Result { () throws(CacheRejection) in
        try CacheDecoder.decode(
          pages: pages, header: header, groupStart: groupStart, groupLength: groupLength,
          sectorSize: sectorSize, expectedFreeBytes: freeBytes ?? summary.freeBytes, crc32c: crc32c)
      }
    }
    guard let result else { fatalError("the closure has run") }
    return try result.get()
  }

  func inspect(withHeader: Bool = true) -> CacheInspection? {
    bytes.withUnsafeBytes {
      CacheInspection.inspect(pages: $0, header: withHeader ? header : nil, crc32c: crc32c)
    }
  }

  /// Makes the checksum of a page right again.
  mutating func mendChecksum(ofPage page: Int) {
    let first = page == 0 ? pageCount * 4 : page * CacheLayout.pageSize
    let end = (page + 1) * CacheLayout.pageSize
    let checksum = bytes.withUnsafeBytes {
      crc32c(UnsafeRawBufferPointer(rebasing: $0[first..<end]))
    }
    for byte in 0..<4 { bytes[page * 4 + byte] = UInt8(truncatingIfNeeded: checksum >> (byte * 8)) }
  }

  /// Overwrites an entry and mends its page's checksum.
  mutating func setEntry(_ number: Int, offset: UInt64, bytes length: UInt64, kind: UInt8) {
    guard let position = CacheLayout(pageCount: pageCount)?.position(ofEntry: number) else {
      return
    }
    let base = position.page * CacheLayout.pageSize + position.offset
    for byte in 0..<8 {
      bytes[base + byte] = UInt8(truncatingIfNeeded: offset >> (byte * 8))
      bytes[base + 8 + byte] = UInt8(truncatingIfNeeded: length >> (byte * 8))
    }
    bytes[base + 16] = kind
    mendChecksum(ofPage: position.page)
  }

  func entry(_ number: Int) -> CacheEntry? {
    inspect()?.entries.first { $0.number == number }?.entry
  }
}

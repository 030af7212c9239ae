/// Where things are in a cache file of a given number of pages.
///
/// ```
/// page 0:  crc32c of every page (4 bytes each) | generation (8) | entries ...
/// page k:  entries ...                           as many pages as they need
/// then:    one page of bits for each bitmap entry, in the order of the entries
/// then:    zero pages
/// ```
/// All numbers are little endian. The checksum of page 0 covers what follows the array of
/// checksums. Entries are packed and never cross a page.
package struct CacheLayout: Equatable {
  package static let pageSize = 4096
  package static let entriesPerPage = pageSize / CacheEntry.byteCount
  static let checksumSize = 4
  static let generationSize = 8
  /// The crc32c of a page of zeros.
  static let zeroPageChecksum: UInt32 = 0x98f9_4189
  /// More checksums leave no room for the generation in page 0.
  package static let maximumPageCount = (pageSize - generationSize) / checksumSize

  package let pageCount: Int

  /// Nil if a file cannot have this many pages.
  package init?(pageCount: Int) {
    guard (1...Self.maximumPageCount).contains(pageCount) else { return nil }
    self.pageCount = pageCount
  }

  /// The number of pages of a full file: 16 for each whole 256 MiB of the group, at least 16. Linux
  /// gives each cache so many. A shorter file is read as well (`CacheDemand`).
  package static func pageCount(forGroupLength length: UInt64) -> UInt64 {
    max(1, length >> 28) * 16
  }

  /// The size of a full file for a group, in bytes.
  package static func byteCount(forGroupLength length: UInt64) -> UInt64 {
    pageCount(forGroupLength: length) * UInt64(pageSize)
  }

  /// The bytes of logical space that one bitmap describes: a bit a sector.
  package static func bytesPerBitmap(sectorSize: UInt64) -> UInt64 {
    UInt64(pageSize) * 8 * sectorSize
  }

  /// What the array of checksums takes of page 0, where the generation begins.
  package var generationOffset: Int { pageCount * Self.checksumSize }

  var entriesOffset: Int { generationOffset + Self.generationSize }

  /// The number of entries that page 0 holds.
  package var firstPageCapacity: Int {
    (Self.pageSize - entriesOffset) / CacheEntry.byteCount
  }

  /// How many pages of the file have anything in them, by the counts of its header, which may be
  /// anything; never more than there are.
  package func usedPageCount(entries: UInt64, bitmaps: UInt64) -> Int {
    let all = UInt64(pageCount)
    guard bitmaps < all, entries <= all * UInt64(Self.entriesPerPage) else { return pageCount }
    return min(pagesForEntries(Int(entries)) + Int(bitmaps), pageCount)
  }

  /// The number of pages, including page 0, that this many entries take.
  package func pagesForEntries(_ count: Int) -> Int {
    if count <= firstPageCapacity { return 1 }
    let rest = count - firstPageCapacity
    return 1 + (rest + Self.entriesPerPage - 1) / Self.entriesPerPage
  }

  /// The number of entries that fit if `bitmaps` pages are kept for bitmaps.
  package func entryCapacity(besidesBitmaps bitmaps: Int) -> Int {
    guard bitmaps < pageCount else { return 0 }
    return firstPageCapacity + (pageCount - bitmaps - 1) * Self.entriesPerPage
  }

  /// Where the entry with this index begins: page and byte in the page.
  package func position(ofEntry index: Int) -> (page: Int, offset: Int) {
    if index < firstPageCapacity {
      return (0, entriesOffset + index * CacheEntry.byteCount)
    }
    let rest = index - firstPageCapacity
    return (
      1 + rest / Self.entriesPerPage, rest % Self.entriesPerPage * CacheEntry.byteCount
    )
  }

  /// The bytes of a page that its checksum covers.
  func checkedRange(ofPage page: Int) -> Range<Int> {
    let base = page * Self.pageSize
    return (page == 0 ? generationOffset : base)..<base + Self.pageSize
  }

  func byteOffset(ofEntry index: Int) -> Int {
    let position = position(ofEntry: index)
    return position.page * Self.pageSize + position.offset
  }
}

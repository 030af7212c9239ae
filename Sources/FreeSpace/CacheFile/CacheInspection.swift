/// One page's checksum.
package struct PageCheck: Equatable {
  package let page: Int
  package let stored: UInt32
  package let computed: UInt32

  package var isValid: Bool { stored == computed }

  /// `page` must be one of the layout's, and `pages` the whole file.
  init(
    page: Int, of pages: UnsafeRawBufferPointer, _ layout: CacheLayout,
    crc32c: (UnsafeRawBufferPointer) -> UInt32
  ) {
    self.page = page
    stored = pages.littleEndian(at: page * CacheLayout.checksumSize)
    computed = crc32c(
      UnsafeRawBufferPointer(rebasing: pages[layout.checkedRange(ofPage: page)]))
  }
}

/// A cache file as it is, valid or not: for people to look at.
package struct CacheInspection {
  /// An entry and where it is.
  package struct ListedEntry: Equatable {
    package let number: Int
    package let page: Int
    package let offsetInPage: Int
    package let entry: CacheEntry
  }

  /// The generation in page 0.
  package let generation: UInt64
  /// Every page of the file; pages after the last bitmap need not be valid.
  package let pages: [PageCheck]
  package let entries: [ListedEntry]
  /// The pages that entries and bitmaps take by the header's counts, or by the entries
  /// found if there is no header.
  package let usedPageCount: Int

  /// Nil if the file has no whole page, or too many to have room for a generation.
  ///
  /// With a header, the entries it counts are listed, as far as the file goes; without,
  /// those up to the first of no known type.
  package static func inspect(
    pages file: UnsafeRawBufferPointer, header: CacheHeader?,
    crc32c: (UnsafeRawBufferPointer) -> UInt32
  ) -> CacheInspection? {
    guard let layout = CacheLayout(pageCount: file.count / CacheLayout.pageSize) else {
      return nil
    }
    let capacity = layout.entryCapacity(besidesBitmaps: 0)
    let wanted = header.map { Int(clamping: $0.entryCount) } ?? capacity
    var entries: [ListedEntry] = []
    for number in 0..<min(wanted, capacity) {
      let entry = CacheEntry(file, at: layout.byteOffset(ofEntry: number))
      if header == nil, entry.kind == nil { break }
      let position = layout.position(ofEntry: number)
      entries.append(
        ListedEntry(
          number: number, page: position.page, offsetInPage: position.offset, entry: entry))
    }
    let found = entries.reduce(0) { $0 + ($1.entry.kind == .bitmap ? 1 : 0) }
    let bitmaps = header.map { Int(clamping: min($0.bitmapCount, 1 << 32)) } ?? found
    return CacheInspection(
      generation: file.littleEndian(at: layout.generationOffset),
      pages: (0..<layout.pageCount).map {
        PageCheck(page: $0, of: file, layout, crc32c: crc32c)
      },
      entries: entries,
      usedPageCount: min(layout.pageCount, layout.pagesForEntries(entries.count) + bitmaps))
  }
}

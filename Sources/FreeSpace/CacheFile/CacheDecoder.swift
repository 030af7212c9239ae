/// Reads a block group's free space from the pages of its cache file.
///
/// The file is not to be trusted: any doubt is a `CacheRejection`, nothing traps. What the
/// total cannot reveal (a wrong range in place of another of the same length) nothing in
/// the file can: that is why the writer must be exact.
package enum CacheDecoder {
  /// The index that the file describes, or the first reason not to believe it.
  ///
  /// `expectedFreeBytes` is the group's length less what is used and what is kept for
  /// superblock copies. Only pages that hold entries or bitmaps are verified, page 0 always: Linux
  /// leaves checksums of the pages behind the last as they happen to be.
  /// Entries may be in any order, and adjacent ones need not be merged. A cache without
  /// entries is believed only if nothing is expected to be free.
  package static func decode(
    pages: UnsafeRawBufferPointer,
    header: CacheHeader,
    groupStart: UInt64,
    groupLength: UInt64,
    sectorSize: UInt64,
    expectedFreeBytes: UInt64,
    crc32c: (UnsafeRawBufferPointer) -> UInt32
  ) throws(CacheRejection) -> FreeSpaceIndex {
    guard
      FreeSpaceIndex.canDescribe(
        start: groupStart, length: groupLength, sectorSize: sectorSize)
    else {
      throw .invalidGroup(start: groupStart, length: groupLength, sectorSize: sectorSize)
    }
    let layout = try checkedLayout(of: pages, header, expectedFreeBytes)
    let entryCount = Int(header.entryCount)
    let firstBitmapPage = layout.pagesForEntries(entryCount)
    for page in 0..<firstBitmapPage + Int(header.bitmapCount) {
      let check = PageCheck(page: page, of: pages, layout, crc32c: crc32c)
      guard check.isValid else {
        throw .checksumMismatch(page: page, stored: check.stored, computed: check.computed)
      }
    }
    let generation: UInt64 = pages.littleEndian(at: layout.generationOffset)
    guard generation == header.generation else {
      throw .generationMismatch(file: generation, header: header.generation)
    }

    let index = FreeSpaceIndex(start: groupStart, length: groupLength, sectorSize: sectorSize)
    var bitmaps: [(entry: Int, window: Int)] = []
    for number in 0..<entryCount {
      let entry = CacheEntry(pages, at: layout.byteOffset(ofEntry: number))
      switch entry.kind {
      case .extent: try addExtent(entry, number, to: index)
      case .bitmap: bitmaps.append((number, try checkedWindow(of: entry, number, in: index)))
      case nil: throw .unknownEntryType(entry: number, type: entry.rawKind)
      }
    }
    guard bitmaps.count == Int(header.bitmapCount) else {
      throw .wrongBitmapCount(found: UInt64(bitmaps.count), header: header.bitmapCount)
    }
    var seen = Array(repeating: false, count: bitmaps.isEmpty ? 0 : index.windowCount)
    for (position, bitmap) in bitmaps.enumerated() {
      let entry = CacheEntry(pages, at: layout.byteOffset(ofEntry: bitmap.entry))
      if seen[bitmap.window] {
        throw .duplicateBitmap(entry: bitmap.entry, offset: entry.offset)
      }
      seen[bitmap.window] = true
      let base = (firstBitmapPage + position) * CacheLayout.pageSize
      let page = UnsafeRawBufferPointer(rebasing: pages[base..<base + CacheLayout.pageSize])
      try addBitmap(page, entry, bitmap.entry, window: bitmap.window, to: index)
    }
    guard index.freeBytes == expectedFreeBytes else {
      throw .wrongTotal(found: index.freeBytes, expected: expectedFreeBytes)
    }
    index.recalculateThresholds()
    return index
  }

  /// The file's layout, if its size is possible and the header's counts fit it.
  private static func checkedLayout(
    of pages: UnsafeRawBufferPointer, _ header: CacheHeader, _ expectedFreeBytes: UInt64
  ) throws(CacheRejection) -> CacheLayout {
    guard pages.count % CacheLayout.pageSize == 0,
      let layout = CacheLayout(pageCount: pages.count / CacheLayout.pageSize)
    else { throw .invalidFileSize(bytes: pages.count) }
    if header.entryCount == 0, expectedFreeBytes > 0 { throw .noEntries }
    let pageCount = UInt64(layout.pageCount)
    guard header.bitmapCount <= header.entryCount, header.bitmapCount < pageCount,
      header.entryCount
        <= UInt64(layout.entryCapacity(besidesBitmaps: Int(header.bitmapCount)))
    else {
      throw .countsDoNotFit(
        entries: header.entryCount, bitmaps: header.bitmapCount, pages: layout.pageCount)
    }
    return layout
  }

  private static func addExtent(
    _ entry: CacheEntry, _ number: Int, to index: FreeSpaceIndex
  ) throws(CacheRejection) {
    if entry.bytes == 0 { throw .emptyEntry(entry: number, offset: entry.offset) }
    do {
      try index.add(offset: entry.offset, length: entry.bytes)
    } catch .misaligned {
      throw .misalignedEntry(entry: number, offset: entry.offset, bytes: entry.bytes)
    } catch .alreadyFree {
      throw .overlappingEntry(entry: number, offset: entry.offset, bytes: entry.bytes)
    } catch {
      throw .entryOutsideGroup(entry: number, offset: entry.offset, bytes: entry.bytes)
    }
  }

  /// The window of a bitmap entry.
  private static func checkedWindow(
    of entry: CacheEntry, _ number: Int, in index: FreeSpaceIndex
  ) throws(CacheRejection) -> Int {
    if entry.bytes == 0 { throw .emptyEntry(entry: number, offset: entry.offset) }
    guard entry.offset >= index.start, entry.offset < index.end else {
      throw .entryOutsideGroup(entry: number, offset: entry.offset, bytes: entry.bytes)
    }
    let bytesPerBitmap = CacheLayout.bytesPerBitmap(sectorSize: index.sectorSize)
    let distance = entry.offset - index.start
    guard distance % bytesPerBitmap == 0 else {
      throw .misplacedBitmap(entry: number, offset: entry.offset)
    }
    return Int(distance / bytesPerBitmap)
  }

  private static func addBitmap(
    _ page: UnsafeRawBufferPointer, _ entry: CacheEntry, _ number: Int, window: Int,
    to index: FreeSpaceIndex
  ) throws(CacheRejection) {
    let bits = SectorBitmap(bitCount: SpaceWindow.sectorsPerWindow)
    defer { bits.deallocate() }
    var free = 0
    for word in 0..<bits.wordCount {
      bits.words[word] = page.littleEndian(at: word * 8)
      free += bits.words[word].nonzeroBitCount
    }
    let sectorCount = index.windows[window].sectorCount
    guard bits.noneSet(sectorCount..<bits.bitCount) else {
      throw .bitsBeyondGroup(entry: number, offset: entry.offset)
    }
    guard entry.bytes == index.bytes(free) else {
      throw .bitmapSizeMismatch(
        entry: number, offset: entry.offset, listed: entry.bytes, set: index.bytes(free))
    }
    guard index.addFree(bits, toWindow: window) else {
      throw .overlappingBitmap(entry: number, offset: entry.offset)
    }
  }
}

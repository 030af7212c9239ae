/// What the header item must say about a cache that was encoded.
package struct CacheSummary: Equatable {
  /// Extent entries and bitmap entries.
  package let entryCount: UInt64
  /// The bitmap entries among them.
  package let bitmapCount: UInt64
  package let freeBytes: UInt64

  package init(entryCount: UInt64, bitmapCount: UInt64, freeBytes: UInt64) {
    self.entryCount = entryCount
    self.bitmapCount = bitmapCount
    self.freeBytes = freeBytes
  }
}

/// A block group's free space, laid out for a cache file of a given number of pages.
///
/// A window is written as a bitmap if the index keeps it as one and that takes less room, or if
/// entries alone would not fit; the densest windows come first. Everything else becomes maximal
/// extents, cut where a bitmap begins, so nothing overlaps.
package struct CacheEncoder {
  private let content: FreeSpaceIndex
  private let plan: Plan

  /// `additional` are ranges that the next mount finds free though the index does not list
  /// them: pinned ones and ones held back. In any order; they must overlap neither the index nor
  /// one another. Throws when a range is wrong, or the content does not fit into `pageCount`
  /// pages. The index must not change before `encode`.
  package init(
    index: FreeSpaceIndex, additional: [(offset: UInt64, length: UInt64)] = [], pageCount: Int
  ) throws(FreeSpaceError) {
    var content = index
    if !additional.isEmpty {
      content = index.copy()
      for range in additional { try content.add(offset: range.offset, length: range.length) }
    }
    self.content = content
    plan = try Plan(for: content, pageCount: pageCount)
  }

  /// The pages that are not all zero: the first so many of the file.
  package var usedPageCount: Int { plan.neededPages }

  /// Fills the file's first pages, at least the used ones, and returns what the header must say.
  /// All pages behind them must be zero on the device. `crc32c` is the standard checksum, both
  /// inversions included.
  package func encode(
    generation: UInt64, into pages: UnsafeMutableRawBufferPointer,
    crc32c: (UnsafeRawBufferPointer) -> UInt32
  ) -> CacheSummary {
    precondition(pages.count >= usedPageCount * CacheLayout.pageSize)
    pages.initializeMemory(as: UInt8.self, repeating: 0)
    pages.setLittleEndian(generation, at: plan.layout.generationOffset)
    Self.writeContent(of: content, plan, into: pages)
    for page in 0..<plan.layout.pageCount {
      var checksum = CacheLayout.zeroPageChecksum
      if page < usedPageCount {
        checksum = crc32c(
          UnsafeRawBufferPointer(rebasing: pages[plan.layout.checkedRange(ofPage: page)]))
      }
      pages.setLittleEndian(checksum, at: page * CacheLayout.checksumSize)
    }
    return CacheSummary(
      entryCount: UInt64(plan.entryCount), bitmapCount: UInt64(plan.bitmapCount),
      freeBytes: content.freeBytes)
  }

  private static func writeContent(
    of content: FreeSpaceIndex, _ plan: Plan, into pages: UnsafeMutableRawBufferPointer
  ) {
    var entries = 0
    var bitmapPage = plan.layout.pagesForEntries(plan.entryCount)
    var pending = 0..<0
    func write(_ entry: CacheEntry) {
      entry.write(to: pages, at: plan.layout.byteOffset(ofEntry: entries))
      entries += 1
    }
    func writePending() {
      if pending.isEmpty { return }
      write(
        CacheEntry(
          offset: content.address(pending.lowerBound), bytes: content.bytes(pending.count),
          kind: .extent))
      pending = 0..<0
    }
    for window in 0..<content.windowCount {
      let base = window << SpaceWindow.sectorShift
      if plan.isBitmap[window] {
        writePending()
        let free = content.windows[window].freeCount
        write(
          CacheEntry(offset: content.address(base), bytes: content.bytes(free), kind: .bitmap))
        writeBits(of: content.windows[window], into: pages, at: bitmapPage * CacheLayout.pageSize)
        bitmapPage += 1
      } else {
        content.windows[window].forEachRun { run in
          if pending.isEmpty || base + run.lowerBound != pending.upperBound {
            writePending()
            pending = base + run.lowerBound..<base + run.upperBound
          } else {
            pending = pending.lowerBound..<base + run.upperBound
          }
        }
      }
    }
    writePending()
    precondition(entries == plan.entryCount)
  }

  private static func writeBits(
    of window: SpaceWindow, into pages: UnsafeMutableRawBufferPointer, at offset: Int
  ) {
    func write(_ bits: SectorBitmap) {
      for word in 0..<bits.wordCount {
        pages.setLittleEndian(bits.words[word], at: offset + word * 8)
      }
    }
    if let bitmap = window.bitmap {
      write(bitmap)
    } else {
      let bitmap = SectorBitmap(bitCount: window.sectorCount)
      defer { bitmap.deallocate() }
      window.forEachRun { bitmap.set($0) }
      write(bitmap)
    }
  }
}

extension CacheEncoder {
  /// Which windows become bitmaps, and how many entries that makes.
  fileprivate struct Plan {
    let layout: CacheLayout
    private(set) var isBitmap: [Bool]
    private(set) var bitmapCount = 0
    private(set) var entryCount: Int

    var neededPages: Int { layout.pagesForEntries(entryCount) + bitmapCount }

    init(for content: FreeSpaceIndex, pageCount: Int) throws(FreeSpaceError) {
      guard let layout = CacheLayout(pageCount: pageCount) else {
        throw .doesNotFit(
          neededPages: Int(clamping: CacheLayout.pageCount(forGroupLength: content.length)),
          availablePages: min(pageCount, CacheLayout.maximumPageCount))
      }
      self.layout = layout
      isBitmap = Array(repeating: false, count: content.windowCount)
      entryCount = content.rangeCount

      let inside = (0..<content.windowCount).map { Self.runsInside($0, of: content) }
      for window in 0..<content.windowCount
      where content.windows[window].bitmap != nil && inside[window] > CacheLayout.entriesPerPage {
        choose(window, runsInside: inside[window], of: content)
      }
      if neededPages > pageCount {
        let densestFirst = (0..<content.windowCount)
          .filter { !isBitmap[$0] && inside[$0] > 0 }
          .sorted { (inside[$0], $1) > (inside[$1], $0) }
        for window in densestFirst where neededPages > pageCount {
          choose(window, runsInside: inside[window], of: content)
        }
      }
      guard neededPages <= pageCount else {
        throw .doesNotFit(neededPages: neededPages, availablePages: pageCount)
      }
    }

    /// The runs that cross neither end of a window: those a bitmap makes disappear from
    /// the list. One that crosses is cut and its other part stays.
    private static func runsInside(_ window: Int, of content: FreeSpaceIndex) -> Int {
      let leaf = content.tree.leaf(window)
      if leaf.lead == leaf.length { return 0 }
      let fromLeft = leaf.lead > 0 && window > 0 && content.tree.leaf(window - 1).trail > 0
      let toRight =
        leaf.trail > 0 && window + 1 < content.windowCount
        && content.tree.leaf(window + 1).lead > 0
      return leaf.runCount - (fromLeft ? 1 : 0) - (toRight ? 1 : 0)
    }

    private mutating func choose(_ window: Int, runsInside: Int, of content: FreeSpaceIndex) {
      isBitmap[window] = true
      bitmapCount += 1
      entryCount += 1 - runsInside
      // A run between two bitmaps next to each other needs no entry at all. A chosen
      // window is never wholly free, so such a run crosses only this one border.
      let leaf = content.tree.leaf(window)
      if window > 0, isBitmap[window - 1], leaf.lead > 0,
        content.tree.leaf(window - 1).trail > 0
      {
        entryCount -= 1
      }
      if window + 1 < content.windowCount, isBitmap[window + 1], leaf.trail > 0,
        content.tree.leaf(window + 1).lead > 0
      {
        entryCount -= 1
      }
    }
  }
}

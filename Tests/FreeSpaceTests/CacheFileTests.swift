import FreeSpace
import Testing

@Suite(.timeLimit(.minutes(10))) struct CacheFileTests {
  static let groupLengths = [100 * mib, 112 * mib, 256 * mib, gib, 10 * gib]

  @Test func layoutFollowsTheFormat() throws {
    #expect(CacheLayout.pageCount(forGroupLength: 100 * mib) == 16)
    #expect(CacheLayout.pageCount(forGroupLength: 511 * mib) == 16)
    #expect(CacheLayout.pageCount(forGroupLength: gib) == 64)
    let small = try #require(CacheLayout(pageCount: 16))
    #expect(small.firstPageCapacity == 236)
    #expect(small.entryCapacity(besidesBitmaps: 0) == 3_836)
    #expect(small.pagesForEntries(0) == 1 && small.pagesForEntries(236) == 1)
    #expect(small.pagesForEntries(237) == 2 && small.pagesForEntries(3_836) == 16)
    #expect(small.position(ofEntry: 235) == (0, 72 + 235 * 17))
    #expect(small.position(ofEntry: 236) == (1, 0))
    #expect(small.position(ofEntry: 476) == (2, 0))
    #expect(CacheLayout(pageCount: 64)?.firstPageCapacity == 225)
    #expect(CacheLayout(pageCount: 1_022)?.firstPageCapacity == 0)
    #expect(CacheLayout(pageCount: 0) == nil && CacheLayout(pageCount: 1_023) == nil)
  }

  @Test(arguments: groupLengths) func wholeGroup(length: UInt64) throws {
    let file = try CacheFile(of: .wholly(free: length, start: 3 * gib))
    #expect(file.summary == CacheSummary(entryCount: 1, bitmapCount: 0, freeBytes: length))
    #expect(try file.decode().ranges == [ByteRange(offset: 3 * gib, length: length)])
    #expect(file.entry(0) == CacheEntry(offset: 3 * gib, bytes: length, kind: .extent))
  }

  @Test(arguments: groupLengths) func fullGroup(length: UInt64) throws {
    let file = try CacheFile(of: FreeSpaceIndex(start: gib, length: length, sectorSize: sector))
    #expect(file.summary == CacheSummary(entryCount: 0, bitmapCount: 0, freeBytes: 0))
    #expect(try file.decode().freeBytes == 0)
    #expect(throws: CacheRejection.noEntries) { try file.decode(expecting: sector) }
  }

  /// The last sector of each group, alone and in a bitmap that the group's end cuts.
  @Test(arguments: groupLengths + [100 * mib + sector, 300 * mib + 17 * sector])
  func denseTail(length: UInt64) throws {
    let index = FreeSpaceIndex(start: gib, length: length, sectorSize: sector)
    let tail = (length - 1) / (128 * mib) * 128 * mib
    let count = (length - tail) / sector
    for number in stride(from: (count - 1) % 2, to: count, by: 2) {
      try index.add(offset: gib + tail + number * sector, length: sector)
    }
    #expect(index.isFree(offset: gib + length - sector, length: sector))
    let file = try CacheFile(of: index)
    #expect(
      file.summary
        == CacheSummary(
          entryCount: 1, bitmapCount: 1, freeBytes: (count + 1) / 2 * sector))
    #expect(file.entry(0)?.offset == gib + tail)
    let loaded = try file.decode()
    try loaded.checkInvariants()
    #expect(loaded.ranges == index.ranges)
  }

  @Test func everyPageIsCheckedAndNothingStaleIsLeft() throws {
    let file = try CacheFile(of: .wholly(free: gib))
    let inspection = try #require(file.inspect())
    #expect(inspection.pages.count == 64)
    #expect(inspection.pages.allSatisfy { $0.isValid })
    #expect(inspection.generation == 7)
    #expect(inspection.usedPageCount == 1)
    #expect(!file.bytes[(64 * 4 + 8 + 17)...].contains { $0 != 0 })
    #expect(file.inspect(withHeader: false)?.entries == inspection.entries)
  }

  /// As many extents as fit, and one more: the densest window turns into a bitmap.
  @Test func bitmapsOnlyWhenEntriesDoNotFit() throws {
    let index = FreeSpaceIndex(start: 0, length: 512 * mib, sectorSize: sector)
    let layout = try #require(CacheLayout(pageCount: 4))
    let capacity = UInt64(layout.entryCapacity(besidesBitmaps: 0))
    for number in 0..<capacity {
      let window = number % 10 == 0 ? 0 : number % 3 + 1
      try index.add(offset: window * 128 * mib + number * 8 * sector, length: sector)
    }
    #expect(index.bitmapCount == 0)
    #expect(try CacheFile(of: index, pageCount: 4).summary.bitmapCount == 0)
    try index.add(offset: 511 * mib, length: mib)
    let file = try CacheFile(of: index, pageCount: 4)
    #expect(file.summary.bitmapCount == 1)
    #expect(try file.decode().ranges == index.ranges)
  }

  @Test func doesNotFit() throws {
    let index = FreeSpaceIndex(start: 0, length: 512 * mib, sectorSize: sector)
    for number in 0..<512 / 4 * 200 as Range<UInt64> {
      try index.add(offset: number * 4 * sector, length: sector)
    }
    #expect(try CacheFile(of: index).summary.bitmapCount > 0)
    #expect(try CacheFile(of: index, pageCount: 5).summary.bitmapCount == 4)
    #expect(throws: FreeSpaceError.self) { try CacheFile(of: index, pageCount: 4) }
    #expect(throws: FreeSpaceError.self) { try CacheFile(of: index, pageCount: 0) }
    #expect(throws: FreeSpaceError.self) { try CacheFile(of: index, pageCount: 1_023) }
    #expect(throws: FreeSpaceError.self) { try CacheFile(of: .wholly(free: 16 * gib)) }
    #expect(throws: FreeSpaceError.doesNotFit(neededPages: 5, availablePages: 4)) {
      try CacheEncoder(index: index, pageCount: 4)
    }
  }

  /// The used pages with zeros behind them are the same file.
  @Test func usedPages() throws {
    for runs in [1, 200, 500, 16_000] as [UInt64] {
      let index = FreeSpaceIndex(start: gib, length: gib, sectorSize: sector)
      for number in 0..<runs { try index.add(offset: gib + number * 2 * sector, length: sector) }
      let whole = try CacheFile(of: index)
      let encoder = try CacheEncoder(index: index, pageCount: whole.pageCount)
      let used = encoder.usedPageCount * CacheLayout.pageSize
      #expect(used < whole.bytes.count)
      var bytes: [UInt8] = Array(repeating: 0xa5, count: used)
      let summary = bytes.withUnsafeMutableBytes {
        encoder.encode(generation: 7, into: $0, crc32c: crc32c)
      }
      #expect(bytes + Array(repeating: 0, count: whole.bytes.count - used) == whole.bytes)
      #expect(summary == whole.summary)
    }
  }

  /// A run across the border of two bitmaps is in neither's list of extents.
  @Test func runsAcrossBitmaps() throws {
    let index = FreeSpaceIndex(start: gib, length: gib, sectorSize: sector)
    for number in 0..<16_000 as Range<UInt64> {
      for window in [1, 2, 4] as [UInt64] {
        let offset = gib + window * 128 * mib + 256 * kib + number * 2 * sector
        try index.add(offset: offset, length: sector)
      }
    }
    #expect(index.bitmapCount == 3)
    for border in 1...5 as ClosedRange<UInt64> {
      try index.add(offset: gib + border * 128 * mib - 64 * kib, length: 128 * kib)
    }
    let file = try CacheFile(of: index)
    #expect(file.summary.bitmapCount == 3)
    // The cut runs at 1, 3, 4 and 5; the one at 2 lies within bitmaps.
    #expect(file.summary.entryCount == 3 + 4)
    #expect(try file.decode().ranges == index.ranges)
  }

  @Test func additionalRangesAreFree() throws {
    let index = FreeSpaceIndex(start: gib, length: gib, sectorSize: sector)
    try index.add(offset: gib + mib, length: mib)
    let file = try CacheFile(
      of: index, additional: [(gib + 9 * mib, mib), (gib + 2 * mib, mib), (gib, mib)])
    #expect(file.summary == CacheSummary(entryCount: 2, bitmapCount: 0, freeBytes: 4 * mib))
    #expect(
      try file.decode().ranges == [
        ByteRange(offset: gib, length: 3 * mib), ByteRange(offset: gib + 9 * mib, length: mib),
      ])
    #expect(index.freeBytes == mib)
    #expect(throws: FreeSpaceError.alreadyFree(offset: gib, length: 2 * mib)) {
      try CacheFile(of: index, additional: [(gib, 2 * mib)])
    }
    #expect(throws: FreeSpaceError.outsideGroup(offset: 0, length: mib)) {
      try CacheFile(of: index, additional: [(0, mib)])
    }
  }

  /// What other writers may do: any order, touching entries, an extent and a bitmap with one
  /// offset, unchecked pages after the last bitmap.
  @Test func acceptsOtherWriters() throws {
    let index = FreeSpaceIndex(start: 0, length: gib, sectorSize: sector)
    for number in 0..<2_000 as Range<UInt64> {
      try index.add(offset: number * 2 * sector + mib, length: sector)
    }
    try index.add(offset: 500 * mib, length: 3 * mib)
    try index.add(offset: 600 * mib, length: 3 * mib)
    var file = try CacheFile(of: index)
    #expect(file.entry(0)?.kind == .bitmap)
    file.setEntry(1, offset: 600 * mib, bytes: 3 * mib, kind: 1)
    file.setEntry(2, offset: 501 * mib, bytes: 2 * mib, kind: 1)
    file.setEntry(3, offset: 500 * mib, bytes: mib, kind: 1)
    file.setEntry(4, offset: 0, bytes: 64 * kib, kind: 1)
    file.header.entryCount = 5
    file.bytes[2 * 4] ^= 0xff
    try index.add(offset: 0, length: 64 * kib)
    #expect(try file.decode(expecting: index.freeBytes).ranges == index.ranges)
    #expect(file.inspect()?.pages[2].isValid == false)
  }

  /// A bitmap covers 32768 sectors, whatever their size.
  @Test func largeSectors() throws {
    let large = 16 * kib
    let index = FreeSpaceIndex(start: gib, length: gib, sectorSize: large)
    for number in 0..<5_000 as Range<UInt64> {
      try index.add(offset: gib + 512 * mib + number * 2 * large, length: large)
    }
    try index.add(offset: gib, length: 400 * mib)
    #expect(CacheLayout.bytesPerBitmap(sectorSize: large) == 512 * mib)
    let file = try CacheFile(of: index)
    #expect(file.summary.entryCount == 2 && file.summary.bitmapCount == 1)
    #expect(file.entry(1)?.offset == gib + 512 * mib)
    #expect(try file.decode().ranges == index.ranges)
  }
}

import FreeSpace
import TestSupport
import Testing

/// How long a cache's file is made.
@Suite(.timeLimit(.minutes(2))) struct CacheDemandTests {
  @Test func anUnfragmentedGroupTakesOnePage() throws {
    let demand = CacheDemand([try .wholly(free: gib)])
    // The run is counted in each of eight windows.
    #expect(demand.entryCount == 8 && demand.bitmapCount == 0)
    #expect(demand.pageCount(spareEntries: 60, atMost: 64) == 1)
    #expect(demand.pageCount(spareEntries: 240, atMost: 64) == 2)
    let full = FreeSpaceIndex(start: gib, length: gib, sectorSize: sector)
    #expect(CacheDemand([full]).pageCount(spareEntries: 0, atMost: 64) == 1)
    #expect(CacheDemand([]).pageCount(spareEntries: 0, atMost: 64) == 1)
  }

  /// Page 0 of a file of n pages holds (4088 - 4 n) / 17 entries, and each other one 240.
  @Test func sizesAtTheBorders() throws {
    for (runs, spare, pages) in [
      (0, 240, 1), (0, 241, 2), (0, 480, 2), (0, 481, 3), (100, 90, 1), (100, 91, 2),
      (160, 240, 2), (160, 241, 3),
    ] {
      let index = FreeSpaceIndex(start: gib, length: gib, sectorSize: sector)
      for number in 0..<UInt64(runs) {
        try index.add(offset: gib + number * 2 * sector, length: sector)
      }
      #expect(
        CacheDemand([index]).pageCount(spareEntries: spare, atMost: 64) == pages,
        "\(runs) runs, \(spare) spare")
    }
  }

  @Test func aFragmentedWindowIsABitmap() throws {
    let index = FreeSpaceIndex(start: 0, length: gib, sectorSize: sector)
    for number in 0..<UInt64(5000) { try index.add(offset: number * 2 * sector, length: sector) }
    let demand = CacheDemand([index])
    #expect(demand.entryCount == 1 && demand.bitmapCount == 1)
    #expect(demand.pageCount(spareEntries: 60, atMost: 64) == 2)
    #expect(demand.pageCount(spareEntries: 10_000, atMost: 5) == 5)
  }

  /// A file of the size that is found, without room to spare, holds what the encoder makes of it,
  /// however free space is spread over several indexes, and the decoder reads it.
  @Test(arguments: 0..<UInt64(40)) func whatIsFoundIsEnough(seed: UInt64) throws {
    var random = SeededRandom(testSeed: seed)
    let lengths = [100 * mib, 256 * mib, gib, 3 * gib + 17 * sector]
    let length = try #require(lengths.randomElement(using: &random))
    let indexes = (0..<3).map { _ in
      FreeSpaceIndex(start: gib, length: length, sectorSize: sector)
    }
    let sectorCount = length / sector
    for _ in 0..<random.below(200) {
      var position = random.below(sectorCount)
      let step = 1 + random.below(40 as UInt64)
      for _ in 0..<random.below(900) where position < sectorCount {
        let offset = gib + position * sector
        if !indexes.contains(where: { $0.isFree(offset: offset, length: sector) }) {
          let owner = random.below(indexes.count)
          try indexes[owner].add(offset: offset, length: sector)
        }
        position += step
      }
    }
    let limit = Int(CacheLayout.pageCount(forGroupLength: length))
    let pageCount = CacheDemand(indexes).pageCount(spareEntries: 2, atMost: limit)
    #expect(pageCount <= limit)
    let whole = indexes[0].copy()
    for index in indexes.dropFirst() {
      var ranges: [ByteRange] = []
      index.forEachRange { ranges.append(ByteRange(offset: $0, length: $1)) }
      for range in ranges { try whole.add(offset: range.offset, length: range.length) }
    }
    let file = try CacheFile(of: whole, pageCount: pageCount)
    #expect(file.pageCount == pageCount)
    #expect(try file.decode().ranges == whole.ranges)
  }
}

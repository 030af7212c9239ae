/// Free space as an array of flags: slow, and too simple to be wrong.
struct NaiveSpace {
  let start: UInt64
  private(set) var isFree: [Bool]
  private(set) var freeCount = 0

  init(start: UInt64, sectorCount: Int) {
    self.start = start
    isFree = Array(repeating: false, count: sectorCount)
  }

  mutating func set(_ range: Range<Int>, free: Bool) {
    for sector in range {
      precondition(isFree[sector] != free)
      isFree[sector] = free
    }
    freeCount += free ? range.count : -range.count
  }

  /// The sectors from `sector` on, at most `limit`, that are all as it is.
  func stretch(from sector: Int, limit: Int) -> Range<Int> {
    var end = sector + 1
    let last = min(isFree.count, sector + limit)
    while end < last, isFree[end] == isFree[sector] { end += 1 }
    return sector..<end
  }

  func allFree(_ range: Range<Int>) -> Bool {
    for sector in range where !isFree[sector] { return false }
    return true
  }

  var ranges: [ByteRange] {
    var found: [ByteRange] = []
    var runStart: Int?
    for sector in 0...isFree.count {
      let free = sector < isFree.count && isFree[sector]
      if free, runStart == nil { runStart = sector }
      if !free, let first = runStart {
        found.append(
          ByteRange(offset: start + UInt64(first) * 4096, length: UInt64(sector - first) * 4096))
        runStart = nil
      }
    }
    return found
  }

  /// Whether `count` free sectors in a row begin at a multiple of `alignment` bytes.
  func fits(count: Int, alignment: UInt64) -> Bool {
    ranges.contains { range in
      let end = range.offset + range.length
      let first = (range.offset + alignment - 1) / alignment * alignment
      return first < end && end - first >= UInt64(count) * 4096
    }
  }
}

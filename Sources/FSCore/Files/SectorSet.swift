/// Some of the sectors of a range, by their number within it.
package struct SectorSet: Equatable, Sendable {
  /// How many sectors the range has.
  package let count: Int
  /// How many of them are in the set.
  package private(set) var presentCount = 0
  // 64 sectors, the most that reads ask for, need no memory of their own.
  private var first: UInt64 = 0
  private var rest: [UInt64] = []

  package init(count: Int) {
    precondition(count >= 0)
    self.count = count
    if count > 64 { rest = [UInt64](repeating: 0, count: (count - 1) / 64) }
  }

  /// Whether all sectors of the range are in the set.
  package var isComplete: Bool { presentCount == count }

  package subscript(sector: Int) -> Bool {
    precondition(sector >= 0 && sector < count)
    let word = sector < 64 ? first : rest[sector / 64 - 1]
    return word >> (sector % 64) & 1 == 1
  }

  package mutating func insert(_ sectors: Range<Int>) {
    precondition(sectors.lowerBound >= 0 && sectors.upperBound <= count)
    if count <= 64 {
      guard !sectors.isEmpty else { return }
      let mask = (UInt64.max >> (64 - sectors.count)) << sectors.lowerBound
      presentCount += (mask & ~first).nonzeroBitCount
      first |= mask
      return
    }

    var sector = sectors.lowerBound
    while sector < sectors.upperBound {
      let bit = sector % 64
      let bits = min(64 - bit, sectors.upperBound - sector)
      let mask = (UInt64.max >> (64 - bits)) << bit
      if sector < 64 {
        presentCount += (mask & ~first).nonzeroBitCount
        first |= mask
      } else {
        presentCount += (mask & ~rest[sector / 64 - 1]).nonzeroBitCount
        rest[sector / 64 - 1] |= mask
      }
      sector += bits
    }
  }
}

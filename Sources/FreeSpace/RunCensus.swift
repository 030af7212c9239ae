/// How many free runs of each size a window has, and its longest.
///
/// Class `c` holds the lengths from 2^c up to 2^(c+1) - 1 sectors.
struct RunCensus {
  private var counts = InlineArray<16, UInt16>(repeating: 0)
  /// Bit `c` is set if class `c` is not empty.
  private(set) var classes: UInt32 = 0
  /// Exact unless `needsRecount`; then an upper bound.
  private(set) var longest = 0
  private var longestCount = 0

  /// The class that `length` belongs to.
  @inline(__always)
  static func sizeClass(of length: Int) -> Int {
    Int.bitWidth &- 1 &- length.leadingZeroBitCount
  }

  /// The lowest class all of whose runs have at least `length` sectors.
  @inline(__always)
  static func roomyClass(for length: Int) -> Int {
    length <= 1 ? 0 : sizeClass(of: length &- 1) &+ 1
  }

  /// The last run of the longest length went away.
  var needsRecount: Bool { longestCount == 0 && classes != 0 }

  /// A length that the longest run certainly has.
  var longestAtLeast: Int {
    classes == 0 ? 0 : 1 << (31 - classes.leadingZeroBitCount)
  }

  mutating func add(_ length: Int) {
    if length <= 0 { return }
    let sizeClass = Self.sizeClass(of: length)
    counts[sizeClass] += 1
    classes |= 1 << UInt32(sizeClass)
    if length > longest {
      longest = length
      longestCount = 1
    } else if length == longest {
      longestCount += 1
    }
  }

  mutating func remove(_ length: Int) {
    if length <= 0 { return }
    let sizeClass = Self.sizeClass(of: length)
    counts[sizeClass] -= 1
    if counts[sizeClass] == 0 { classes &= ~(1 << UInt32(sizeClass)) }
    if length == longest { longestCount -= 1 }
    if classes == 0 { longest = 0 }
  }

  /// Restores `longest` without a scan if the largest class has no members but
  /// the two given runs: what shrinking the longest run piece by piece needs.
  mutating func settle(with first: Int, _ second: Int) {
    guard needsRecount else { return }
    let top = 31 - classes.leadingZeroBitCount
    var members: UInt16 = 0
    if first > 0, Self.sizeClass(of: first) == top { members += 1 }
    if second > 0, Self.sizeClass(of: second) == top { members += 1 }
    guard members == counts[top] else { return }
    longest = max(first, second)
    longestCount = first == second ? 2 : 1
  }

  /// The census of a bitmap, and what its window knows besides. It looks at words rather than at runs:
  /// where only those bits are left at which `n` set ones begin, each run of at least `n` has left one
  /// run, and shorter ones are gone.
  static func counting(
    _ bits: SectorBitmap
  ) -> (census: RunCensus, runCount: Int, freeCount: Int) {
    let wordCount = bits.wordCount
    return withUnsafeTemporaryAllocation(of: UInt64.self, capacity: 2 * wordCount) { scratch in
      guard var left = scratch.baseAddress else { return (RunCensus(), 0, 0) }
      var next = left + wordCount
      var freeCount = 0
      for word in 0..<wordCount { freeCount &+= bits.words[word].nonzeroBitCount }
      let runCount = SectorBitmap.erode(bits.words, by: 0, into: left, wordCount)
      guard runCount > 0 else { return (RunCensus(), 0, 0) }

      var census = RunCensus()
      var length = 1
      var atLeast = runCount
      var sizeClass = 0
      while true {
        let longer = SectorBitmap.erode(left, by: length, into: next, wordCount)
        census.counts[sizeClass] = UInt16(atLeast - longer)
        if longer < atLeast { census.classes |= 1 << UInt32(sizeClass) }
        if longer == 0 { break }
        (left, next) = (next, left)
        (atLeast, length, sizeClass) = (longer, 2 * length, sizeClass + 1)
      }
      // The longest has at least `length` ones, and less than twice as many.
      var step = length / 2
      while step > 0 {
        let longer = SectorBitmap.erode(left, by: step, into: next, wordCount)
        if longer > 0 {
          (left, next) = (next, left)
          (atLeast, length) = (longer, length + step)
        }
        step /= 2
      }
      census.setLongest(length, count: atLeast)
      return (census, runCount, freeCount)
    }
  }

  mutating func setLongest(_ length: Int, count: Int) {
    longest = length
    longestCount = count
  }

  func isEqual(to other: RunCensus) -> Bool {
    for index in counts.indices where counts[index] != other.counts[index] { return false }
    return classes == other.classes && longest == other.longest
      && longestCount == other.longestCount
  }
}

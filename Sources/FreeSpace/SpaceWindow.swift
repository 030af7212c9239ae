/// The free space of one window: the part of a block group that one bitmap can describe.
///
/// Sectors count from the window's start. Its runs are kept either as a list or as a
/// bitmap, never both, whichever is smaller.
struct SpaceWindow {
  /// Sectors of a whole window: the bits of a page.
  static let sectorsPerWindow = 32768
  static let sectorShift = 15

  let sectorCount: Int
  private(set) var freeCount = 0
  private(set) var runCount = 0
  private(set) var census = RunCensus()
  private(set) var list = ExtentList()
  private(set) var bitmap: SectorBitmap?
  /// Where the next search of a bitmap by size class begins; any value is right.
  private var searchStart = 0

  init(sectorCount: Int) {
    assert(sectorCount > 0 && sectorCount <= Self.sectorsPerWindow)
    self.sectorCount = sectorCount
  }

  /// A list of more runs than this is larger than the bitmap.
  var listLimit: Int { SectorBitmap.wordCount(forBits: sectorCount) * 2 }

  var byteCount: Int { bitmap?.byteCount ?? list.byteCount }

  mutating func deallocate() {
    list.deallocate()
    bitmap?.deallocate()
    bitmap = nil
  }

  func duplicated() -> SpaceWindow {
    var copy = self
    copy.list = list.duplicated()
    copy.bitmap = bitmap?.duplicated()
    return copy
  }

  /// The number of free sectors at the window's start.
  var lead: Int {
    if let bitmap { return bitmap.onesFrom(0) }
    return list.count > 0 && list.start(0) == 0 ? list.end(0) : 0
  }

  /// The number of free sectors at the window's end.
  var trail: Int {
    if let bitmap { return bitmap.onesBefore(sectorCount) }
    guard list.count > 0, list.end(list.count - 1) == sectorCount else { return 0 }
    return sectorCount - list.start(list.count - 1)
  }

  func allFree(_ range: Range<Int>) -> Bool {
    if let bitmap { return bitmap.allSet(range) }
    let index = list.upperBound(range.lowerBound)
    return index > 0 && list.end(index - 1) >= range.upperBound
  }

  func noneFree(_ range: Range<Int>) -> Bool {
    if let bitmap { return bitmap.noneSet(range) }
    let index = list.firstIndex(endingAfter: range.lowerBound)
    return index == list.count || list.start(index) >= range.upperBound
  }

  /// The first run with at least `length` sectors at or after `sector`, cut off there.
  func firstRun(atLeast length: Int, from sector: Int) -> Range<Int>? {
    if let bitmap { return bitmap.firstRun(atLeast: length, from: sector) }
    return list.firstRun(atLeast: length, from: sector)
  }

  /// A run of a size class that the census says exists, or in a bitmap a longer one.
  mutating func someRun(ofClass sizeClass: Int) -> Range<Int>? {
    guard let bitmap else { return list.firstRun(ofClass: sizeClass) }
    // Going on where the last search ended, not over the same used sectors again.
    let least = 1 << sizeClass
    let run =
      bitmap.firstRun(atLeast: least, from: searchStart)
      ?? bitmap.firstRun(atLeast: least, from: 0)
    if let run { searchStart = run.lowerBound }
    return run
  }

  /// The end of the run that `sector` is in.
  func runEnd(from sector: Int) -> Int {
    if let bitmap { return sector + bitmap.onesFrom(sector) }
    return list.end(list.upperBound(sector) - 1)
  }

  /// Calls `body` with each run in offset order.
  @inline(__always)
  func forEachRun<E: Error>(_ body: (Range<Int>) throws(E) -> Void) throws(E) {
    if let bitmap {
      try bitmap.forEachRun(body)
    } else {
      for index in 0..<list.count { try body(list.start(index)..<list.end(index)) }
    }
  }

  /// Frees a range of which nothing is free.
  mutating func insert(_ range: Range<Int>) {
    if bitmap == nil, list.count == listLimit { convertToBitmap() }
    let (before, after): (Int, Int)
    if let bitmap {
      before = bitmap.onesBefore(range.lowerBound)
      after = bitmap.onesFrom(range.upperBound)
      bitmap.set(range)
    } else {
      (before, after) = list.insert(range, limit: listLimit)
    }
    census.remove(before)
    census.remove(after)
    census.add(before + range.count + after)
    freeCount += range.count
    runCount += 1 - (before > 0 ? 1 : 0) - (after > 0 ? 1 : 0)
    shrinkIfSparse()
  }

  /// Frees what `bits` says, none of it beyond the window's end; nothing is free yet. One pass, where
  /// inserting run by run would look at the neighbours of each.
  mutating func adopt(_ bits: SectorBitmap) {
    precondition(freeCount == 0)
    (census, runCount, freeCount) = RunCensus.counting(bits)
    guard freeCount > 0 else { return }
    let own = SectorBitmap(bitCount: sectorCount)
    for word in 0..<own.wordCount { own.words[word] = bits.words[word] }
    list.deallocate()
    bitmap = own
    compact()
  }

  /// Takes a range that is wholly free.
  mutating func remove(_ range: Range<Int>) {
    if bitmap == nil, list.count == listLimit { convertToBitmap() }
    let (before, after): (Int, Int)
    if let bitmap {
      before = bitmap.onesBefore(range.lowerBound)
      after = bitmap.onesFrom(range.upperBound)
      bitmap.clear(range)
    } else {
      (before, after) = list.remove(range, limit: listLimit)
    }
    census.remove(before + range.count + after)
    census.add(before)
    census.add(after)
    freeCount -= range.count
    runCount += (before > 0 ? 1 : 0) + (after > 0 ? 1 : 0) - 1
    census.settle(with: before, after)
    if census.needsRecount { recountLongest() }
    shrinkIfSparse()
  }

  private mutating func recountLongest() {
    var longest = census.longestAtLeast
    var count = 0
    var position = 0
    while let run = firstRun(atLeast: longest, from: position) {
      count = run.count > longest ? 1 : count + 1
      longest = run.count
      position = run.upperBound
    }
    census.setLongest(longest, count: count)
  }

  /// Goes back to a list well below the point where the list became a bitmap, so that
  /// a window near that point is not converted to and fro.
  private mutating func shrinkIfSparse() {
    if bitmap != nil, runCount <= listLimit / 4 { convertToList() }
  }

  /// Takes the smaller of the two forms.
  mutating func compact() {
    if bitmap != nil {
      if runCount <= listLimit / 2 { convertToList() }
    } else {
      list.trim(limit: listLimit)
    }
  }

  private mutating func convertToBitmap() {
    let bits = SectorBitmap(bitCount: sectorCount)
    forEachRun { bits.set($0) }
    list.deallocate()
    bitmap = bits
  }

  private mutating func convertToList() {
    var runs = ExtentList()
    let limit = listLimit
    forEachRun { runs.append($0, limit: limit) }
    bitmap?.deallocate()
    bitmap = nil
    list = runs
  }
}

/// One page of bits, a bit a sector: set means free.
///
/// Bit `i` of the map is bit `i % 64` of word `i / 64`, which on disk, in little
/// endian, is bit `i % 8` of byte `i / 8`. Bits from `bitCount` on are zero.
/// Owned by its window: copied as a value it still shares the storage.
struct SectorBitmap {
  let words: UnsafeMutablePointer<UInt64>
  let bitCount: Int

  var wordCount: Int { Self.wordCount(forBits: bitCount) }
  var byteCount: Int { wordCount * MemoryLayout<UInt64>.size }

  static func wordCount(forBits bits: Int) -> Int { (bits + 63) / 64 }

  init(bitCount: Int) {
    self.bitCount = bitCount
    let count = Self.wordCount(forBits: bitCount)
    words = .allocate(capacity: count)
    words.initialize(repeating: 0, count: count)
  }

  func deallocate() { words.deallocate() }

  func duplicated() -> SectorBitmap {
    let copy = SectorBitmap(bitCount: bitCount)
    copy.words.update(from: words, count: wordCount)
    return copy
  }

  /// Calls `body` with each word that the range touches and the mask of its bits there,
  /// until `body` returns false.
  @inline(__always)
  private func forEachWord(in range: Range<Int>, _ body: (Int, UInt64) -> Bool) -> Bool {
    guard !range.isEmpty else { return true }
    assert(range.lowerBound >= 0 && range.upperBound <= bitCount)
    let first = range.lowerBound &>> 6
    let last = (range.upperBound &- 1) &>> 6
    let head = ~UInt64(0) &<< UInt64(range.lowerBound & 63)
    let tail = ~UInt64(0) &>> UInt64(63 &- (range.upperBound &- 1) & 63)
    if first == last { return body(first, head & tail) }
    guard body(first, head) else { return false }
    var word = first &+ 1
    while word < last {
      guard body(word, ~0) else { return false }
      word &+= 1
    }
    return body(last, tail)
  }

  func set(_ range: Range<Int>) {
    _ = forEachWord(in: range) { word, mask in
      words[word] |= mask
      return true
    }
  }

  func clear(_ range: Range<Int>) {
    _ = forEachWord(in: range) { word, mask in
      words[word] &= ~mask
      return true
    }
  }

  func allSet(_ range: Range<Int>) -> Bool {
    forEachWord(in: range) { word, mask in words[word] & mask == mask }
  }

  func noneSet(_ range: Range<Int>) -> Bool {
    forEachWord(in: range) { word, mask in words[word] & mask == 0 }
  }

  /// The number of set bits directly before `bit`.
  func onesBefore(_ bit: Int) -> Int {
    var position = bit
    while position > 0 {
      let word = (position &- 1) &>> 6
      let used = position &- word &* 64
      // Move the bits below `position` to the top; the zeros shifted in stop the count.
      let ones = (~(words[word] &<< UInt64(64 &- used))).leadingZeroBitCount
      position &-= min(ones, used)
      if ones < used { break }
    }
    return bit - position
  }

  /// The number of set bits from `bit` on.
  func onesFrom(_ bit: Int) -> Int {
    var position = bit
    while position < bitCount {
      let shift = position & 63
      let ones = (~(words[position &>> 6] &>> UInt64(shift))).trailingZeroBitCount
      position &+= min(ones, 64 &- shift)
      if ones < 64 &- shift { break }
    }
    return position - bit
  }

  /// The first set bit at or after `bit`.
  func firstSet(from bit: Int) -> Int? {
    guard bit < bitCount else { return nil }
    var word = bit &>> 6
    var bits = words[word] & (~0 &<< UInt64(bit & 63))
    while bits == 0 {
      word &+= 1
      if word == wordCount { return nil }
      bits = words[word]
    }
    return word &* 64 &+ bits.trailingZeroBitCount
  }

  /// Sets those bits of `target` that are set in `source` and `distance` bits later, too; bits beyond
  /// the end count as clear. Returns how many runs are left.
  static func erode(
    _ source: UnsafePointer<UInt64>, by distance: Int, into target: UnsafeMutablePointer<UInt64>,
    _ wordCount: Int
  ) -> Int {
    let words = distance &>> 6
    let shift = UInt64(distance & 63)
    var runCount = 0
    var lastBit: UInt64 = 0
    for word in 0..<wordCount {
      let other = word &+ words
      var later = other < wordCount ? source[other] &>> shift : 0
      if shift > 0, other &+ 1 < wordCount { later |= source[other &+ 1] &<< (64 &- shift) }
      let left = source[word] & later
      target[word] = left
      runCount &+= (left & ~(left &<< 1 | lastBit)).nonzeroBitCount
      lastBit = left &>> 63
    }
    return runCount
  }

  /// Calls `body` with each run in offset order.
  @inline(__always)
  func forEachRun<E: Error>(_ body: (Range<Int>) throws(E) -> Void) throws(E) {
    var position = 0
    while let start = firstSet(from: position) {
      position = start + onesFrom(start)
      try body(start..<position)
    }
  }

  /// The first run with at least `length` sectors at or after `bit`.
  func firstRun(atLeast length: Int, from bit: Int) -> Range<Int>? {
    guard bit < bitCount else { return nil }
    let start = length <= 64 ? shortRun(length, from: bit) : longRun(length, from: bit)
    guard let start else { return nil }
    return start..<start + length + onesFrom(start + length)
  }

  /// Up to 64 bits: in each word, bit `i` survives if `length` ones begin there.
  private func shortRun(_ length: Int, from bit: Int) -> Int? {
    let wordCount = wordCount
    var word = bit &>> 6
    var bits = words[word] & (~0 &<< UInt64(bit & 63))
    while true {
      if bits != 0 {
        var low = bits
        var high = word &+ 1 < wordCount ? words[word &+ 1] : 0
        var covered = 1
        while covered < length, low != 0 {
          let shift = min(covered, length &- covered)
          low &= low &>> UInt64(shift) | high &<< UInt64(64 &- shift)
          high &= high &>> UInt64(shift)
          covered &+= shift
        }
        if low != 0 { return word &* 64 &+ low.trailingZeroBitCount }
      }
      word &+= 1
      if word == wordCount { return nil }
      bits = words[word]
    }
  }

  /// Over 64 bits: such a run covers the end of a word.
  private func longRun(_ length: Int, from bit: Int) -> Int? {
    let wordCount = wordCount
    var word = bit &>> 6
    var bits = words[word] & (~0 &<< UInt64(bit & 63))
    var carried = 0
    while true {
      if bits == ~0 {
        carried &+= 64
        if carried >= length { return word &* 64 &+ 64 &- carried }
      } else {
        if carried &+ (~bits).trailingZeroBitCount >= length { return word &* 64 &- carried }
        carried = (~bits).leadingZeroBitCount
      }
      word &+= 1
      if word == wordCount { return nil }
      bits = words[word]
    }
  }
}

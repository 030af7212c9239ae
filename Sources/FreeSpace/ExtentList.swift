/// The free runs of one window, in offset order, four bytes each.
///
/// An entry is `start << 16 | (length - 1)`, so that entries compare by start.
/// Owned by its window: copied as a value it still shares the storage.
struct ExtentList {
  static let minimumCapacity = 8

  private var base: UnsafeMutablePointer<UInt32>?
  private(set) var count = 0
  private(set) var capacity = 0

  var byteCount: Int { capacity * MemoryLayout<UInt32>.size }

  mutating func deallocate() {
    base?.deallocate()
    base = nil
    count = 0
    capacity = 0
  }

  func duplicated() -> ExtentList {
    var copy = ExtentList()
    if let base, capacity > 0 {
      copy.resize(to: capacity)
      copy.base?.update(from: base, count: count)
      copy.count = count
    }
    return copy
  }

  // Only called with an index below `count`, which implies storage.
  @inline(__always)
  private func entry(_ index: Int) -> UInt32 {
    assert(index < count)
    return base.unsafelyUnwrapped[index]
  }

  @inline(__always)
  func start(_ index: Int) -> Int { Int(entry(index) &>> 16) }

  @inline(__always)
  func end(_ index: Int) -> Int {
    let entry = entry(index)
    return Int(entry &>> 16) &+ Int(entry & 0xffff) &+ 1
  }

  private mutating func store(_ range: Range<Int>, at index: Int) {
    assert(index < count && !range.isEmpty && range.upperBound <= 1 << 15)
    base.unsafelyUnwrapped[index] = UInt32(range.lowerBound) << 16 | UInt32(range.count - 1)
  }

  /// The number of runs that start at or before `sector`.
  func upperBound(_ sector: Int) -> Int {
    guard let base else { return 0 }
    let key = UInt32(truncatingIfNeeded: sector) &<< 16 | 0xffff
    var low = 0
    var length = count
    while length > 0 {
      let half = length &>> 1
      let isBelow = base[low &+ half] <= key
      low = isBelow ? low &+ half &+ 1 : low
      length = isBelow ? length &- half &- 1 : half
    }
    return low
  }

  /// The index of the first run that ends after `sector`; `count` if there is none.
  func firstIndex(endingAfter sector: Int) -> Int {
    let index = upperBound(sector)
    return index > 0 && end(index - 1) > sector ? index - 1 : index
  }

  /// The first run with at least `length` sectors at or after `sector`.
  func firstRun(atLeast length: Int, from sector: Int) -> Range<Int>? {
    var index = firstIndex(endingAfter: sector)
    guard index < count, let base else { return nil }
    if start(index) < sector {
      if end(index) - sector >= length { return sector..<end(index) }
      index += 1
    }
    let wanted = UInt32(truncatingIfNeeded: length &- 1)
    while index < count {
      if base[index] & 0xffff >= wanted { return start(index)..<end(index) }
      index &+= 1
    }
    return nil
  }

  /// The first run of a size class.
  func firstRun(ofClass sizeClass: Int) -> Range<Int>? {
    for index in 0..<count {
      let length = end(index) - start(index)
      if length >> sizeClass == 1 { return start(index)..<end(index) }
    }
    return nil
  }

  /// Adds a run that no run overlaps; returns the lengths of the runs it merged with.
  mutating func insert(_ range: Range<Int>, limit: Int) -> (before: Int, after: Int) {
    let index = upperBound(range.lowerBound)
    let before =
      index > 0 && end(index - 1) == range.lowerBound
      ? end(index - 1) - start(index - 1) : 0
    let after =
      index < count && start(index) == range.upperBound
      ? end(index) - start(index) : 0
    let merged = range.lowerBound - before..<range.upperBound + after
    switch (before > 0, after > 0) {
    case (true, true):
      store(merged, at: index - 1)
      close(at: index)
    case (true, false):
      store(merged, at: index - 1)
    case (false, true):
      store(merged, at: index)
    case (false, false):
      open(at: index, limit: limit)
      store(merged, at: index)
    }
    return (before, after)
  }

  /// Takes a range out of the run that holds it; returns what is left on each side.
  mutating func remove(_ range: Range<Int>, limit: Int) -> (before: Int, after: Int) {
    let index = upperBound(range.lowerBound) - 1
    let run = start(index)..<end(index)
    let before = range.lowerBound - run.lowerBound
    let after = run.upperBound - range.upperBound
    switch (before > 0, after > 0) {
    case (true, true):
      store(run.lowerBound..<range.lowerBound, at: index)
      open(at: index + 1, limit: limit)
      store(range.upperBound..<run.upperBound, at: index + 1)
    case (true, false):
      store(run.lowerBound..<range.lowerBound, at: index)
    case (false, true):
      store(range.upperBound..<run.upperBound, at: index)
    case (false, false):
      close(at: index)
    }
    return (before, after)
  }

  /// Appends a run that begins after the end of every other.
  mutating func append(_ range: Range<Int>, limit: Int) {
    open(at: count, limit: limit)
    store(range, at: count - 1)
  }

  /// Gives back room that is not used.
  mutating func trim(limit: Int) {
    var wanted = count == 0 ? 0 : Self.minimumCapacity
    while wanted < count { wanted *= 2 }
    if min(wanted, limit) < capacity { resize(to: min(wanted, limit)) }
  }

  private mutating func open(at index: Int, limit: Int) {
    if count == capacity {
      precondition(count < limit)
      resize(to: min(max(capacity * 2, Self.minimumCapacity), limit))
    }
    let base = base.unsafelyUnwrapped
    (base + index + 1).update(from: base + index, count: count - index)
    count += 1
  }

  private mutating func close(at index: Int) {
    let base = base.unsafelyUnwrapped
    (base + index).update(from: base + index + 1, count: count - index - 1)
    count -= 1
    if count * 4 <= capacity, capacity > Self.minimumCapacity { resize(to: capacity / 2) }
  }

  private mutating func resize(to newCapacity: Int) {
    let old = base
    if newCapacity > 0 {
      let new = UnsafeMutablePointer<UInt32>.allocate(capacity: newCapacity)
      new.initialize(repeating: 0, count: newCapacity)
      if let old { new.update(from: old, count: count) }
      base = new
    } else {
      base = nil
    }
    capacity = newCapacity
    old?.deallocate()
  }
}

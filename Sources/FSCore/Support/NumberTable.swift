/// What a `NumberTable` finds something by.
protocol TableKey: Equatable {
  /// All of it in one number, which may be that of another key as well.
  var tableNumber: UInt64 { get }
}

/// A hash table for what nearly every operation looks up: one multiplication in place of
/// Dictionary's keyed hash, and one place in memory for the key and its value.
///
/// 1. An entry stands at its home, the place that its key's number gives, or behind it with no free
///    place between. Removing one closes the gap.
/// 2. No more than three quarters of the places are taken.
/// 3. Homes depend on a random number of the table's own, so that no image can be made whose
///    addresses share one.
struct NumberTable<ID: TableKey, Value> {
  private struct Entry {
    let key: ID
    var value: Value
  }

  private var places: ContiguousArray<Entry?>
  private(set) var count = 0
  private let secret = UInt64.random(in: 0...UInt64.max)

  private static var leastPlaces: Int { 16 }

  init() { places = ContiguousArray(repeating: nil, count: Self.leastPlaces) }

  var isEmpty: Bool { count == 0 }

  /// The values, in no order that means anything.
  var values: [Value] { places.compactMap { $0?.value } }

  @inline(__always)
  private func home(_ key: ID) -> Int {
    let product = (key.tableNumber ^ secret).multipliedFullWidth(by: 0x9e37_79b9_7f4a_7c15)
    return Int(truncatingIfNeeded: product.high ^ product.low) & (places.count - 1)
  }

  @inline(__always)
  private func next(_ place: Int) -> Int { (place + 1) & (places.count - 1) }

  /// Where the key stands, or else the free place that ended the search.
  @inline(__always)
  private func find(_ key: ID) -> (place: Int, isThere: Bool) {
    var place = home(key)
    while let found = places[place]?.key {
      if found == key { return (place, true) }
      place = next(place)
    }
    return (place, false)
  }

  @inline(__always)
  subscript(key: ID) -> Value? {
    get {
      let (place, isThere) = find(key)
      return isThere ? places[place].unsafelyUnwrapped.value : nil
    }
    set {
      if let newValue { insert(key, newValue) } else { removeValue(forKey: key) }
    }
  }

  private mutating func insert(_ key: ID, _ value: Value) {
    var (place, isThere) = find(key)
    if !isThere {
      if count >= places.count / 4 * 3 {
        grow()
        place = find(key).place
      }
      count += 1
    }
    places[place] = Entry(key: key, value: value)
  }

  private mutating func grow() {
    let old = places
    places = ContiguousArray(repeating: nil, count: old.count * 2)
    for case let entry? in old { places[find(entry.key).place] = entry }
  }

  @discardableResult
  mutating func removeValue(forKey key: ID) -> Value? {
    var (gap, isThere) = find(key)
    guard isThere else { return nil }
    let removed = places[gap].unsafelyUnwrapped.value
    count -= 1

    // Whoever stands behind the gap, and has its home at the gap or before, moves into it.
    var place = next(gap)
    while let entry = places[place] {
      let fromHome = (place - home(entry.key)) & (places.count - 1)
      let fromGap = (place - gap) & (places.count - 1)
      if fromHome >= fromGap {
        places[gap] = entry
        gap = place
      }
      place = next(place)
    }
    places[gap] = nil
    return removed
  }
}

extension LogicalAddress: TableKey {
  @inline(__always) var tableNumber: UInt64 { rawValue }
}

extension InodeID: TableKey {
  @inline(__always) var tableNumber: UInt64 {
    number.rawValue ^ tree.rawValue &* 0xd6e8_feb8_6659_fd93
  }
}

extension FreeSpaceIndex {
  /// Calls `body` with every maximal free range, in offset order.
  package func forEachRange<E: Error>(
    _ body: (_ offset: UInt64, _ length: UInt64) throws(E) -> Void
  ) throws(E) {
    var pending = 0..<0
    for window in 0..<windowCount {
      let base = window << SpaceWindow.sectorShift
      try windows[window].forEachRun { run throws(E) in
        if base + run.lowerBound == pending.upperBound, !pending.isEmpty {
          pending = pending.lowerBound..<base + run.upperBound
        } else {
          if !pending.isEmpty { try body(address(pending.lowerBound), bytes(pending.count)) }
          pending = base + run.lowerBound..<base + run.upperBound
        }
      }
    }
    if !pending.isEmpty { try body(address(pending.lowerBound), bytes(pending.count)) }
  }

  /// Calls `body` with every maximal free range of at least `minimum` bytes, in offset
  /// order. Shorter ones cost next to nothing. For discarding.
  package func forEachRange<E: Error>(
    atLeast minimum: UInt64,
    _ body: (_ offset: UInt64, _ length: UInt64) throws(E) -> Void
  ) throws(E) {
    var position = start
    while let range = nextRange(from: position, atLeast: minimum) {
      try body(range.offset, range.length)
      position = range.offset + range.length
    }
  }

  /// The first free range of at least `minimum` bytes at or after `position`, cut off
  /// there. Lets a caller walk the group without holding its lock throughout.
  package func nextRange(
    from position: UInt64, atLeast minimum: UInt64
  ) -> (offset: UInt64, length: UInt64)? {
    guard position < end, minimum <= length else { return nil }
    let count = max(1, Int((minimum + (sectorSize - 1)) >> sectorShift))
    let behind = position <= start ? 0 : position - start
    let first = Int((behind + (sectorSize - 1)) >> sectorShift)
    guard let run = firstRun(atLeast: count, from: first) else { return nil }
    return (address(run.lowerBound), bytes(run.count))
  }
}

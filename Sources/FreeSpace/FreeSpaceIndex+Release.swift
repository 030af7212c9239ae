extension FreeSpaceIndex {
  /// Makes a range free and merges it with its neighbours.
  ///
  /// If any of it is free already, that is a double free: the index stays as it is.
  package func add(offset: UInt64, length: UInt64) throws(FreeSpaceError) {
    let range = try sectors(offset, length)
    for window in windowIndices(of: range)
    where !windows[window].noneFree(part(of: range, in: window)) {
      throw .alreadyFree(offset: offset, length: length)
    }
    for window in windowIndices(of: range) {
      windows[window].insert(part(of: range, in: window))
      tree.update(window, summary(of: window))
    }
    freeSectors += range.count
    knownMisfit = nil
  }

  /// Takes a range, all of which must be free; else the index stays as it is.
  package func remove(offset: UInt64, length: UInt64) throws(FreeSpaceError) {
    let range = try sectors(offset, length)
    guard allFree(range) else { throw .notFree(offset: offset, length: length) }
    take(range)
  }

  /// Whether all of a range is free. False for a range that is empty, misaligned or
  /// outside the group.
  package func isFree(offset: UInt64, length: UInt64) -> Bool {
    guard let range = try? sectors(offset, length) else { return false }
    return allFree(range)
  }

  func allFree(_ range: Range<Int>) -> Bool {
    for window in windowIndices(of: range)
    where !windows[window].allFree(part(of: range, in: window)) {
      return false
    }
    return true
  }

  /// Takes a range known to be free.
  func take(_ range: Range<Int>) {
    for window in windowIndices(of: range) {
      windows[window].remove(part(of: range, in: window))
      tree.update(window, summary(of: window))
    }
    freeSectors -= range.count
  }

  /// Makes free what a page of bits says, none of it beyond the window's end. False, with
  /// the index unchanged, if some of it is free already.
  func addFree(_ bits: SectorBitmap, toWindow window: Int) -> Bool {
    let space = windows[window]
    if space.freeCount == 0 {
      windows[window].adopt(bits)
    } else {
      var isDisjoint = true
      bits.forEachRun { isDisjoint = isDisjoint && space.noneFree($0) }
      guard isDisjoint else { return false }
      bits.forEachRun { windows[window].insert($0) }
    }
    freeSectors += windows[window].freeCount - space.freeCount
    tree.update(window, summary(of: window))
    knownMisfit = nil
    return true
  }
}

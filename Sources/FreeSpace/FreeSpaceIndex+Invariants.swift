/// A broken invariant of `FreeSpaceIndex`, by its number there.
package struct BrokenInvariant: Error, CustomStringConvertible {
  package let number: Int
  package let window: Int?

  package var description: String {
    "free space index: invariant \(number) is broken" + (window.map { " in window \($0)" } ?? "")
  }
}

extension FreeSpaceIndex {
  /// Recomputes everything that is kept up to date step by step, and compares.
  package func checkInvariants() throws(BrokenInvariant) {
    let expected = RunTree(leafCount: windowCount)
    defer { expected.deallocate() }
    var free = 0
    for window in 0..<windowCount {
      try check(window)
      free += windows[window].freeCount
      guard summary(of: window) == tree.leaf(window) else {
        throw BrokenInvariant(number: 5, window: window)
      }
      expected.setLeaf(window, summary(of: window))
    }
    expected.rebuild()
    guard expected.root == tree.root else { throw BrokenInvariant(number: 5, window: nil) }
    guard memoryBytes <= memoryLimit else { throw BrokenInvariant(number: 6, window: nil) }
    guard free == freeSectors else { throw BrokenInvariant(number: 8, window: nil) }
    var ranges = 0
    var longest: UInt64 = 0
    forEachRange { _, length in
      ranges += 1
      longest = max(longest, length)
    }
    guard ranges == rangeCount, longest == largestRun else {
      throw BrokenInvariant(number: 5, window: nil)
    }
  }

  private func check(_ index: Int) throws(BrokenInvariant) {
    let window = windows[index]
    if let bitmap = window.bitmap {
      guard window.list.capacity == 0 else { throw BrokenInvariant(number: 1, window: index) }
      guard window.freeCount > 0 else { throw BrokenInvariant(number: 7, window: index) }
      let used = window.sectorCount & 63
      if used > 0, bitmap.words[bitmap.wordCount - 1] >> UInt64(used) != 0 {
        throw BrokenInvariant(number: 3, window: index)
      }
    }
    var census = RunCensus()
    var free = 0
    var runs = 0
    var end = -1
    try window.forEachRun { run throws(BrokenInvariant) in
      guard run.lowerBound > end, !run.isEmpty, run.upperBound <= window.sectorCount else {
        throw BrokenInvariant(number: 2, window: index)
      }
      end = run.upperBound
      free += run.count
      runs += 1
      census.add(run.count)
    }
    guard free == window.freeCount, runs == window.runCount, census.isEqual(to: window.census)
    else { throw BrokenInvariant(number: 4, window: index) }
  }
}

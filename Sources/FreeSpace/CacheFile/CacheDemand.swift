/// What a cache must have room for: an upper bound that takes a look at each window, not at each run.
package struct CacheDemand: Equatable {
  /// Entries of both kinds.
  package private(set) var entryCount = 0
  package private(set) var bitmapCount = 0

  /// - Parameter indexes: all of one group, which share no sector; the cache is to describe them
  ///   together.
  package init(_ indexes: [FreeSpaceIndex]) {
    guard let first = indexes.first else { return }
    for window in 0..<first.windowCount {
      // A run that crosses windows counts in each of them, and one that is spread over several
      // indexes in each of those.
      let runCount = indexes.reduce(0) { $0 + $1.tree.leaf(window).runCount }
      let isBitmap = runCount > CacheLayout.entriesPerPage
      entryCount += isBitmap ? 1 : runCount
      bitmapCount += isBitmap ? 1 : 0
    }
  }

  /// The number of pages that a file needs for that and for as much again as is to be expected until
  /// it is written: half as many entries more, and `spareEntries`. Never more than `limit`.
  package func pageCount(spareEntries: Int, atMost limit: Int) -> Int {
    let entries = entryCount + entryCount / 2 + spareEntries
    var count = min(max(bitmapCount + entries / CacheLayout.entriesPerPage, 1), limit)
    while count < limit,
      (CacheLayout(pageCount: count)?.entryCapacity(besidesBitmaps: bitmapCount) ?? 0) < entries
    {
      count += 1
    }
    return count
  }
}

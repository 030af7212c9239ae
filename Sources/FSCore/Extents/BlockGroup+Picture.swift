import FreeSpace

/// A group's free space at one moment, as the next mount must find it.
package struct FreeSpacePicture {
  /// Free and allocatable, and pinned ranges where there are few. The copy is the receiver's alone.
  let free: FreeSpaceIndex
  /// Other pinned ranges, by generation; free to the next mount.
  let pinned: [FreeSpaceIndex]
  /// The group's `changeCount` when the picture was taken.
  package let change: UInt64

  /// All that the next mount finds free, in one index.
  package func combined() throws(FreeSpaceError) -> FreeSpaceIndex {
    for set in pinned {
      try set.forEachRange { offset, length throws(FreeSpaceError) in
        try free.add(offset: offset, length: length)
      }
    }
    return free
  }
}

/// What a record of free space needs to know of a group.
extension BlockGroup {
  /// A few facts that hold at one moment.
  package struct Moment: Sendable {
    package var changeCount: UInt64
    package var loading: Loading
    /// Whether space is allocated that no extent item covers yet.
    package var hasDataInFlight: Bool
    /// Whether nothing is allocated here, as the group is being emptied.
    package var isReadOnly: Bool
  }

  package var moment: Moment {
    state.withLock {
      Moment(
        changeCount: $0.changeCount, loading: $0.loading, hasDataInFlight: $0.inFlight > 0,
        isReadOnly: $0.isReadOnly)
    }
  }

  /// What a cache of the group must have room for; nil while the group is not loaded.
  package var cacheDemand: CacheDemand? {
    state.withLock { state in
      state.index.map { CacheDemand([$0] + state.pinned.sets.map(\.ranges)) }
    }
  }

  /// One consistent picture, or nil when there is none: the group is not loaded, or data is in
  /// flight in it.
  package func takePicture() -> FreeSpacePicture? {
    state.withLock { state in
      guard state.inFlight == 0, let index = state.index else { return nil }
      let free = index.copy()
      var many: [FreeSpaceIndex] = []
      for (_, ranges) in state.pinned.sets {
        if ranges.rangeCount > Self.fewRanges || !Self.add(ranges, to: free) {
          many.append(ranges.copy())
        }
      }
      return FreeSpacePicture(free: free, pinned: many, change: state.changeCount)
    }
  }

  /// So many are added to a picture with the lock held: that takes less than a copy of them.
  private static let fewRanges = 32

  /// False, with nothing changed, when some of it is free already.
  private static func add(_ ranges: FreeSpaceIndex, to free: FreeSpaceIndex) -> Bool {
    var isApart = true
    ranges.forEachRange { offset, length in
      if let next = free.nextRange(from: offset, atLeast: 1), next.offset < offset + length {
        isApart = false
      }
    }
    guard isApart else { return false }
    ranges.forEachRange { offset, length in
      if (try? free.add(offset: offset, length: length)) == nil { isApart = false }
    }
    return isApart
  }

  /// Puts the group on all lists of changed groups, whether it changes or not. Says on which it is
  /// not yet.
  func joinLists() -> News {
    state.withLock { state in
      defer { state.lists = .changed }
      return .changed.subtracting(state.lists)
    }
  }
}

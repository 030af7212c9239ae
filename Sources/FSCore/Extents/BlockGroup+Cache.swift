import FreeSpace

/// What a commit must do next for a group's cache on the device.
enum CacheStep: Sendable {
  case nothing
  /// Make the hidden inode and preallocate its file.
  case setUp
  case write
  /// Make sure that nobody believes what is on the device.
  case invalidate
}

/// A group's free space at one moment, as the next mount must find it.
struct CachePicture {
  /// Free and allocatable. The copy is the receiver's alone.
  let free: FreeSpaceIndex
  /// Pinned ranges, by generation; free to the next mount.
  let pinned: [FreeSpaceIndex]
  /// The group's `changeCount` when the picture was taken.
  let change: UInt64
  let file: CacheFileLocation

  /// All that the next mount finds free, in one index.
  func combined() throws(FreeSpaceError) -> FreeSpaceIndex {
    for set in pinned {
      try set.forEachRange { offset, length throws(FreeSpaceError) in
        try free.add(offset: offset, length: length)
      }
    }
    return free
  }
}

extension BlockGroup {
  /// The cache's state, as `cache-writeout.md` names it.
  package var cacheState: DiskCacheState { state.withLock { $0.cache.state } }

  /// Whether the cache on the device, or the one that the running commit has written, is exact.
  package var isCacheExact: Bool {
    state.withLock { $0.cache.dumpedChange == $0.changeCount && !$0.cache.isInvalid }
  }

  /// Whether a cache could be written, and there is none that is exact.
  var wantsCache: Bool {
    isCacheable && !isCacheExact && loading != .damaged
  }

  /// What transaction `generation` has to do next about the cache.
  ///
  /// - Parameter mayWrite: false once a commit has given up on writing more.
  func nextCacheStep(
    _ generation: Generation, maySetUp: Bool, mayWrite: Bool
  ) -> CacheStep {
    state.withLock { state in
      if state.cache.dumpedChange == state.changeCount, !state.cache.isInvalid { return .nothing }
      if mayWrite, state.loading == .loaded, state.cache.failedGeneration != generation {
        if state.cache.setupGeneration != generation {
          if maySetUp { return .setUp }
        } else if state.inFlight == 0 {
          return .write
        }
      }
      return state.cache.isInvalid ? .nothing : .invalidate
    }
  }

  /// The hidden inode has its file and generation 0.
  func didSetUpCache(_ generation: Generation, _ file: CacheFileLocation) {
    state.withLock { state in
      state.cache.file = file
      state.cache.state = .setup
      state.cache.setupGeneration = generation
      state.cache.isInvalid = true
    }
  }

  func didFailCache(_ generation: Generation) {
    state.withLock { state in
      state.cache.state = .error
      state.cache.failedGeneration = generation
    }
  }

  /// Nobody will believe what is on the device.
  func didInvalidateCache(_ newState: DiskCacheState? = nil) {
    state.withLock { state in
      state.cache.isInvalid = true
      state.cache.dumpedChange = nil
      if let newState { state.cache.state = newState }
    }
  }

  /// The pages and items of the cache are those of the moment `change`.
  func didWriteCache(_ change: UInt64) {
    state.withLock { state in
      state.cache.state = .written
      state.cache.dumpedChange = change
      state.cache.isInvalid = false
      state.cache.isOurs = true
    }
  }

  /// Whether this mount has written the cache on the device, so that it is no old one.
  var hasOwnCache: Bool { state.withLock { $0.cache.isOurs } }

  /// One consistent picture, or nil when there must be none: the group is not loaded, its cache
  /// is not set up by `generation`, or data is in flight in it.
  func takePicture(_ generation: Generation) -> CachePicture? {
    state.withLock { state in
      guard state.cache.setupGeneration == generation, state.inFlight == 0,
        let index = state.index, let file = state.cache.file
      else { return nil }
      // The same transaction may write a group more than once.
      if state.cache.state == .written { state.cache.state = .setup }
      guard state.cache.state >= .setup else { return nil }
      return CachePicture(
        free: index.copy(), pinned: state.pinned.sets.map { $0.ranges.copy() },
        change: state.changeCount, file: file)
    }
  }
}

import FreeSpace

/// Loading a group's free space, while others free extents in it.
///
/// The source is read without any lock of the group, and may be older than the moment of
/// publication: a cache says what was free at mount, or when the group was let go of, a scan of the extent tree sees some of the
/// extents that are being freed and not others. Because nothing is allocated from a group that
/// is not loaded, the difference is known exactly: what was freed meanwhile is in `pinned` or
/// in `freedWhileUnloaded`. The sum in `publish` proves the result, or shows that a scan ran
/// into a free that was half done; then it is repeated.
extension BlockGroup {
  /// Claims the loading for the caller; false when another thread has it, when it is done, or when
  /// it has failed a moment ago.
  func beginLoading() -> Bool {
    state.withLock { state in
      guard state.mayBeLoaded else { return false }
      state.loading = .loading
      publishHint(state)
      return true
    }
  }

  /// Waits until nobody is loading the group.
  func waitUntilLoaded() {
    state.when({ $0.loading != .loading }) { _ in }
  }

  /// Takes over what a source says is free. False when the sum is wrong: nothing changed.
  func publish(_ source: FreeSpaceIndex) -> Bool {
    state.update { state in
      precondition(state.loading == .loading)
      let index = source
      do throws(FreeSpaceError) {
        try state.freedWhileUnloaded?.forEachRange { offset, length throws(FreeSpaceError) in
          try index.fill(offset, length)
        }
        for set in state.pinned.sets {
          try set.ranges.forEachRange { offset, length throws(FreeSpaceError) in
            try index.clear(offset, length)
          }
        }
        for range in superblockRanges { try index.clear(range.start.rawValue, range.length) }
      } catch {
        return false
      }
      let free = index.freeBytes
      guard free + state.pinned.bytes + state.used + superblockBytes == length else {
        return false
      }
      index.recalculateThresholds()
      let before = state.freeKind
      state.index = index
      state.freedWhileUnloaded = nil
      state.loading = .loaded
      state.lastUse = memory.now
      chargeMemory(&state)
      publishHint(state)
      let now = state.freeKind
      counters.withLock { counters in
        counters[keyPath: before] -= free
        counters[keyPath: now] += free
      }
      return true
    }
  }

  /// Gives up for now: what is free is as unknown as before, and is not looked for again for a while.
  /// Says whether it is the first time.
  func postponeLoading() -> Bool {
    state.update { state in
      precondition(state.loading == .loading)
      let isFirst = state.nextAttempt == nil
      state.loading = .unloaded
      state.nextAttempt = .now + Self.pauseAfterFailure
      publishHint(state)
      return isFirst
    }
  }

  /// A device that fails is not asked again and again.
  private static var pauseAfterFailure: Duration { .seconds(5) }

  /// Gives up: nothing will ever be allocated from this group.
  func markDamaged() {
    state.update { state in
      precondition(state.loading == .loading)
      let before = state.freeKind
      state.loading = .damaged
      publishHint(state)
      let free = length - superblockBytes - state.used - state.pinned.bytes
      counters.withLock { counters in
        counters[keyPath: before] -= free
        counters.unusable += free
      }
    }
  }

  /// Makes a new group's space allocatable: all of it.
  func publishEmpty() {
    let index = emptyIndex()
    do throws(FreeSpaceError) {
      try index.add(offset: start.rawValue, length: length)
      for range in superblockRanges {
        try index.remove(offset: range.start.rawValue, length: range.length)
      }
    } catch {
      preconditionFailure("block group \(start): \(error)")
    }
    let isPublished = publish(index)
    precondition(isPublished)
  }
}

extension BlockGroup {
  /// What loading the group would make allocatable.
  var unloadedFree: UInt64 {
    state.withLock { state in
      state.mayBeLoaded
        ? length - superblockBytes - state.used - state.pinned.bytes : 0
    }
  }
}

extension BlockGroup.State {
  var mayBeLoaded: Bool {
    guard loading == .unloaded else { return false }
    return nextAttempt.map { $0 <= .now } ?? true
  }
}

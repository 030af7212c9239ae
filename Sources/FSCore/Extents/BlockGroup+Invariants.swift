import FreeSpace

/// Invariants that run: at every commit of a debug build, and where tests ask for them.
extension BlockGroup {
  /// What does not hold of the group's own figures (invariants 1 and 2); nil when all is well.
  var brokenInvariant: String? {
    state.withLock { state in
      let known = state.used + state.pinned.bytes + state.inFlight + superblockBytes
      let isRight: Bool
      switch (state.loading, state.index) {
      case (.loaded, .some(let index)):
        isRight = known + index.freeBytes == length && state.freedWhileUnloaded == nil
      case (.loaded, nil): isRight = false
      case (_, let index): isRight = known <= length && state.inFlight == 0 && index == nil
      }
      return isRight
        ? nil
        : """
        block group \(start), \(state.loading), \(length) bytes: \(state.used) used, \
        \(state.pinned.bytes) pinned, \(state.inFlight) in flight, \
        \(state.index?.freeBytes ?? 0) free
        """
    }
  }

  /// What the group has in the counters of its class.
  var share: SpaceCounters {
    state.withLock { state in
      var share = SpaceCounters()
      share.length = length - superblockBytes
      share.used = state.used
      share.pinned = state.pinned.bytes
      share.inFlight = state.inFlight
      let rest = share.length - share.used - share.pinned - share.inFlight
      share[keyPath: state.freeKind] = rest
      return share
    }
  }
}

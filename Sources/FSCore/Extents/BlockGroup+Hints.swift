import FreeSpace

/// What a group tells its class of its free space, so that groups with room are found (`GroupHints`).
extension BlockGroup {
  private func hint(_ state: borrowing State) -> GroupHints.Hint {
    if state.isReadOnly { return GroupHints.Hint() }
    switch state.loading {
    case .loaded: return GroupHints.Hint(longestRun: state.index?.largestRun ?? 0)
    case .unloaded:
      return GroupHints.Hint(
        unloaded: length - superblockBytes - state.used - state.pinned.bytes)
    case .loading, .damaged: return GroupHints.Hint()
    }
  }

  /// To be called whenever something has changed on which `hint` depends, before the lock is let go.
  func publishHint(_ state: borrowing State) {
    state.place?.hints.publish(hint(state), in: state.place?.slot ?? 0)
  }

  /// The group has become the member of a class.
  func publishHints(to hints: GroupHints, slot: Int) {
    state.withLock { state in
      precondition(state.place == nil)
      state.place = (hints, slot)
      publishHint(state)
    }
  }

  /// The group leaves its class. Returns the slot that it had; nil when it was in no class.
  func stopPublishing() -> Int? {
    state.withLock { state in
      guard let (hints, slot) = state.place else { return nil }
      hints.publish(GroupHints.Hint(), in: slot)
      state.place = nil
      memory.share.giveBack(state.charged)
      state.charged = 0
      return slot
    }
  }

  /// Whether what `hints` says is what the group would say (invariant 8).
  func agrees(with hints: GroupHints) -> Bool {
    state.withLock { state in
      guard let place = state.place else { return false }
      return place.hints === hints && hints.hint(in: place.slot) == hint(state)
    }
  }
}

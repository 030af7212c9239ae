/// Taking a group out of allocation, so that it can be emptied and removed.
extension BlockGroup.State {
  var isAllocatable: Bool { loading == .loaded && !isReadOnly }

  /// What the class's counters call free space of the group.
  var freeKind: any WritableKeyPath<SpaceCounters, UInt64> & Sendable {
    if isReadOnly { return \.unusable }
    switch loading {
    case .loaded: return \.free
    case .unloaded, .loading: return \.unloaded
    case .damaged: return \.unusable
    }
  }
}

extension BlockGroup {
  package var isReadOnly: Bool { state.withLock { $0.isReadOnly } }

  /// Whether nothing is in the group, nor pinned, nor on its way there.
  package var isEmpty: Bool {
    state.withLock { $0.used == 0 && $0.inFlight == 0 && $0.pinned.isEmpty }
  }

  /// Lets nothing be allocated here from now on. False when the group is read-only already, or
  /// `canSpare` says so of the class's counters, as they are and as they would be.
  func makeReadOnly(
    if canSpare: (_ now: SpaceCounters, _ then: SpaceCounters) -> Bool
  ) -> Bool {
    state.withLock { state in
      guard !state.isReadOnly else { return false }
      let bytes = freeBytes(state)
      let kind = state.freeKind
      let isSpared = counters.withLock { counters in
        var then = counters
        then[keyPath: kind] -= bytes
        then.unusable += bytes
        guard canSpare(counters, then) else { return false }
        counters = then
        return true
      }
      guard isSpared else { return false }
      state.isReadOnly = true
      publishHint(state)
      return true
    }
  }

  /// Undoes `makeReadOnly`.
  func makeWritable() {
    state.withLock { state in
      guard state.isReadOnly else { return }
      state.isReadOnly = false
      let bytes = freeBytes(state)
      let kind = state.freeKind
      counters.withLock { counters in
        counters.unusable -= bytes
        counters[keyPath: kind] += bytes
      }
      publishHint(state)
    }
  }

  /// Takes an empty group that is read-only out of its class's counters: it is removed.
  func leaveCounters() {
    state.withLock { state in
      precondition(state.isReadOnly && state.used == 0 && state.inFlight == 0)
      let bytes = length - superblockBytes
      counters.withLock { counters in
        counters.length -= bytes
        counters.unusable -= bytes
      }
    }
  }

  /// Free bytes, whether their places are known or not.
  private func freeBytes(_ state: borrowing State) -> UInt64 {
    length - superblockBytes - state.used - state.pinned.bytes - state.inFlight
  }
}

import FreeSpace

/// Forgetting where a group is free, as long as its record says so.
extension BlockGroup {
  /// Charges what the group's free space takes in memory now. To be called whenever it has become an
  /// other object, and after each transaction; between these it grows by what one transaction adds.
  func chargeMemory(_ state: inout State) {
    // Of a group that has gone nothing is charged.
    guard state.place != nil else { return }
    let bytes = (state.index?.footprint ?? 0) + (state.freedWhileUnloaded?.footprint ?? 0)
    memory.share.charge(bytes - state.charged)
    state.charged = bytes
  }

  /// When the group was used last, if it has anything in memory that could be let go of.
  var lastUseOfMemory: UInt64? {
    state.withLock { $0.charged > 0 && !$0.isReadOnly ? $0.lastUse : nil }
  }

  /// How often the group has changed, if the record has been told of all changes and nothing is on
  /// its way in or out; else nil.
  var recordedChange: UInt64? {
    state.withLock { $0.isQuiet ? $0.changeCount : nil }
  }

  /// Lets go of what is known of the group's free space: the record is exact as of the change
  /// `change`, and durable. False when the group has changed since, is in use, or `canSpare` says so
  /// of the class's counters, as they are and as they would be.
  func letGo(
    at change: UInt64, if canSpare: (_ now: SpaceCounters, _ then: SpaceCounters) -> Bool
  ) -> Bool {
    state.withLock { state in
      guard state.changeCount == change, state.isQuiet, !state.isReadOnly else { return false }
      switch (state.loading, state.index) {
      case (.loaded, .some(let index)):
        let bytes = index.freeBytes
        let isSpared = counters.withLock { counters in
          var then = counters
          then.free -= bytes
          then.unloaded += bytes
          guard canSpare(counters, then) else { return false }
          counters = then
          return true
        }
        guard isSpared else { return false }
        state.index = nil
        state.loading = .unloaded
      case (.unloaded, _): break
      default: return false
      }
      // The record has it now.
      state.freedWhileUnloaded = nil
      state.usedInSource = state.used
      chargeMemory(&state)
      publishHint(state)
      return true
    }
  }
}

extension BlockGroup.State {
  /// Whether what is free is what no extent item covers, and the record knows all that has changed, if
  /// it wants to be told.
  fileprivate var isQuiet: Bool {
    inFlight == 0 && pinned.isEmpty && changes?.isEmpty != false
  }
}

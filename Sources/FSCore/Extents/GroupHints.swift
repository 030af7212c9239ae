/// What the groups of a class say of their free space, so that one with room is found without looking
/// at all. Lock rank: `leaf`; called with a block group's lock held, by that group.
///
/// 1. A group publishes anew, under its lock, whenever what it said changes: so what stands here of a
///    slot is what its group would say at that moment.
/// 2. A slot that no group has says 0.
final class GroupHints: Sendable {
  struct Hint: Equatable {
    /// The longest free run from which may be allocated, in bytes.
    var longestRun: UInt64 = 0
    /// What loading the group would make allocatable, in bytes.
    var unloaded: UInt64 = 0
  }

  private struct State {
    var longestRun = MaximumTree()
    var unloaded = MaximumTree()
  }

  private let state = Guarded(State(), rank: .leaf)

  func publish(_ hint: Hint, in slot: Int) {
    state.withLock { state in
      state.longestRun.grow(toHold: slot)
      state.unloaded.grow(toHold: slot)
      state.longestRun[slot] = hint.longestRun
      state.unloaded[slot] = hint.unloaded
    }
  }

  func hint(in slot: Int) -> Hint {
    state.withLock { state in
      Hint(longestRun: state.longestRun[slot], unloaded: state.unloaded[slot])
    }
  }

  /// The first slot from `first` on whose group has a run of at least `bytes`, which is not 0.
  func firstSlot(from first: Int, withRun bytes: UInt64) -> Int? {
    state.withLock { $0.longestRun.firstSlot(from: first, atLeast: bytes) }
  }

  /// The slot whose group has the longest run, if that has at least `bytes`, which is not 0.
  func slot(withLongestRunOfAtLeast bytes: UInt64) -> Int? {
    state.withLock { state in
      let longest = state.longestRun.maximum
      return longest < bytes ? nil : state.longestRun.firstSlot(from: 0, atLeast: longest)
    }
  }

  /// The slot whose group has most to be loaded, if any has something.
  var fullestUnloadedSlot: Int? {
    state.withLock { state in
      let most = state.unloaded.maximum
      return most == 0 ? nil : state.unloaded.firstSlot(from: 0, atLeast: most)
    }
  }
}

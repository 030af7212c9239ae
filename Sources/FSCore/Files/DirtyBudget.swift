/// The memory of all buffered bytes of a volume, and its bound. Lock rank: `leaf`.
///
/// What counts is the memory that cells hold, dirty or being written, not the bytes in them: a
/// bound on the one is none on the other. Memory is charged when a cell takes it and given back
/// when the cell goes, so nothing can be forgotten.
///
/// The bound may be exceeded by what each writer that was let in buffers at a time.
final class DirtyBudget: Sendable {
  private struct State {
    var used = 0
    /// All that was ever given back.
    var givenBack = 0
    /// `givenBack` when write-back of everything was last started.
    var givenBackAtStart: Int
    var waiters = 0
  }

  /// What a cell costs beside its bytes.
  private static let overhead = 512

  var limit: Int { memory.fileData.limit }
  private let memory: MemoryBudget
  private let blocks: TreeBlockCache
  private let demand: SpaceDemand
  private let state: Guarded<State>

  /// - Parameter blocks: lets clean tree blocks go to make room.
  init(memory: MemoryBudget, blocks: TreeBlockCache, demand: SpaceDemand) {
    self.memory = memory
    self.blocks = blocks
    self.demand = demand
    state = Guarded(State(givenBackAtStart: -memory.fileData.limit), rank: .leaf)
  }

  var used: Int { state.withLock { $0.used } }

  /// Memory for `count` bytes, or a little more: all that goes with them.
  func take(_ count: Int) -> AlignedBuffer {
    let buffer = AlignedBuffer(count: PageMemory.size(holding: count))
    memory.fileData.charge(buffer.count + Self.overhead)
    state.withLock { state in
      state.used += buffer.count + Self.overhead
    }
    demand.addBufferedPieces(1)
    return buffer
  }

  func giveBack(_ buffer: AlignedBuffer) {
    memory.fileData.giveBack(buffer.count + Self.overhead)
    demand.addBufferedPieces(-1)
    let mustWake = state.withLock { state in
      state.used -= buffer.count + Self.overhead
      state.givenBack += buffer.count + Self.overhead
      return state.waiters > 0 && (state.used < limit || isStartDue(state))
    }
    if mustWake { state.update { _ in } }
  }

  /// Waits until less than the limit is used. Meanwhile `startWriteBack` is called, to start it
  /// for all files: once, and again when a good part was given back and it still is not enough.
  /// Call it with no lock held that write-back takes.
  func waitForRoom(_ startWriteBack: () -> Void) {
    blocks.trim()
    guard used >= limit else { return }
    HeldLocks.assertMayWait(below: .fileContent)
    while true {
      let mustStart = state.withLock { state in
        guard state.used >= limit, isStartDue(state) else { return false }
        state.givenBackAtStart = state.givenBack
        return true
      }
      if mustStart { startWriteBack() }

      state.withLock { $0.waiters += 1 }
      let hasRoom = state.when({ $0.used < limit || isStartDue($0) }) { state in
        state.waiters -= 1
        return state.used < limit
      }
      if hasRoom { return }
    }
  }

  private func isStartDue(_ state: State) -> Bool {
    state.givenBack - state.givenBackAtStart >= limit / 4
  }
}

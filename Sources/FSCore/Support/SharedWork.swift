/// Work in numbered steps that do not depend on each other.
package protocol WorkSteps: Sendable {
  associatedtype Outcome: Sendable
  /// On any thread; each step once. Waits for nothing that a thread could hold which shares work.
  func perform(_ step: Int) -> Outcome
}

/// Steps that the thread which wants them done shares with workers. It takes the outcomes one after
/// the other, while later steps are performed. Lock rank: `leaf`.
///
/// 1. Each step is performed at most once, by the owner or by a worker.
/// 2. The owner waits only for steps that a worker has begun, and else performs steps itself. So the
///    work comes to its end though all workers have other things to do.
/// 3. No step begins more than `window` steps ahead of the one that is taken next: that bounds the
///    memory of outcomes which nobody has taken.
/// 4. After `end` no step begins, and none is under way: what the steps refer to may go.
package final class SharedWork<Steps: WorkSteps>: Sendable {
  private struct State {
    /// The first step that nobody has begun.
    var next = 0
    /// How many steps the owner has taken.
    var taken = 0
    var running = 0
    var helpers = 0
    var isEnded = false
    var outcomes: [Int: Steps.Outcome] = [:]
  }

  private let steps: Steps
  private let count: Int
  private let window: Int
  private let workers: WorkerPool
  private let state = Guarded(State(), rank: .leaf)

  package init(_ steps: Steps, count: Int, window: Int, workers: WorkerPool) {
    self.steps = steps
    self.count = count
    self.window = max(window, 1)
    self.workers = workers
  }

  /// The outcome of the next step. Called by the owner, `count` times at the most.
  package func take() -> Steps.Outcome {
    askForHelp()
    while true {
      // An outcome that is there comes first, then a step that nobody has begun.
      let found = state.withLock { state -> Found in
        precondition(state.taken < count && !state.isEnded)
        if let outcome = state.outcomes.removeValue(forKey: state.taken) {
          state.taken += 1
          return .outcome(outcome)
        }
        return claim(&state).map { .step($0) } ?? .nothing
      }
      switch found {
      case .outcome(let outcome): return outcome
      case .step(let step): perform(step)
      case .nothing: state.when({ $0.outcomes[$0.taken] != nil }) { _ in }
      }
    }
  }

  private enum Found {
    case outcome(Steps.Outcome)
    case step(Int)
    case nothing
  }

  /// Called by the owner when it will take no more, before what the steps refer to goes.
  package func end() {
    let isOver = state.withLock { state in
      state.isEnded = true
      return state.running == 0
    }
    if !isOver { state.when({ $0.running == 0 }) { _ in } }
    // Helpers that have not begun keep this object, but nothing in it.
    let left = state.withLock { state in
      defer { state.outcomes = [:] }
      return state.outcomes
    }
    withExtendedLifetime(left) {}
  }

  /// Sees to it that some workers perform steps, if there are enough for them.
  private func askForHelp() {
    let wanted = state.withLock { state -> Int in
      let open = min(count, state.taken + window) - state.next
      // One step and one processor are for the owner.
      let wanted = max(0, min(WorkerPool.processorCount, open) - 1 - state.helpers)
      state.helpers += wanted
      return wanted
    }
    for _ in 0..<wanted where !workers.offer({ [self] in help() }) {
      // The volume is being closed; the owner can do it all.
      state.withLock { $0.helpers -= 1 }
    }
  }

  private func help() {
    while let step = state.withLock({ claim(&$0, orLeave: true) }) { perform(step) }
  }

  private func claim(_ state: inout State, orLeave isHelper: Bool = false) -> Int? {
    guard !state.isEnded, state.next < min(count, state.taken + window) else {
      if isHelper { state.helpers -= 1 }
      return nil
    }
    defer { state.next += 1 }
    state.running += 1
    return state.next
  }

  private func perform(_ step: Int) {
    let outcome = steps.perform(step)
    state.update { state in
      state.running -= 1
      state.outcomes[step] = outcome
    }
  }
}

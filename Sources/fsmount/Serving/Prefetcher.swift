import FSCore

/// Reads what will be asked for next, on a thread of its own. Of several such works only the last
/// one matters: what the others would read has been asked for meanwhile.
///
/// Lock rank: `leaf`.
final class Prefetcher: Sendable {
  private struct State {
    var next: (@Sendable () -> Void)?
    var hasThread = false
    var hasEnded = false
  }

  private let state = Guarded(State(), rank: .leaf)

  /// Returns at once.
  func add(_ work: @escaping @Sendable () -> Void) {
    let needsThread = state.update { state in
      guard !state.hasEnded else { return false }
      state.next = work
      defer { state.hasThread = true }
      return !state.hasThread
    }
    if needsThread { BackgroundThread { [self] in run() }.detach() }
  }

  /// Returns when no work is running, and none will.
  func end() {
    state.update {
      $0.hasEnded = true
      $0.next = nil
    }
    state.when({ !$0.hasThread }) { _ in }
  }

  private func run() {
    while let work = next() { work() }
    state.update { $0.hasThread = false }
  }

  /// Waits for one; nil at the end.
  private func next() -> (@Sendable () -> Void)? {
    state.when({ $0.hasEnded || $0.next != nil }) { state in
      defer { state.next = nil }
      return state.next
    }
  }
}

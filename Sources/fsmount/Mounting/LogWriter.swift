import FSCore

/// Writes lines on a thread of its own: the callers hold locks that the whole mount waits for, and
/// the place where the lines go may not take them, as a pipe that no program reads.
///
/// 1. `add` waits for nothing but the short sections of `state`.
/// 2. At most `limit` lines are not written yet. One that comes beyond is dropped and counted; how
///    many were is said in their place.
/// 3. Lines are written in the order in which they were added.
final class LogWriter<Line: Sendable>: Sendable {
  private struct State {
    var waiting: [Line] = []
    /// Those that wait, and those that the thread is writing.
    var unwritten = 0
    /// Since the last line that was added.
    var dropped = 0
    var hasThread = false
  }

  private let state = Guarded(State(), rank: .log)
  private let limit: Int
  private let lineAboutDropped: @Sendable (Int) -> Line
  private let write: @Sendable (Line) -> Void

  init(
    limit: Int, lineAboutDropped: @escaping @Sendable (Int) -> Line,
    write: @escaping @Sendable (Line) -> Void
  ) {
    self.limit = limit
    self.lineAboutDropped = lineAboutDropped
    self.write = write
  }

  func add(_ line: Line) {
    let needsThread = state.update { state in
      guard state.unwritten < limit else {
        state.dropped += 1
        return false
      }
      if state.dropped > 0 { state.waiting.append(takeDropped(&state)) }
      state.waiting.append(line)
      state.unwritten += 1
      defer { state.hasThread = true }
      return !state.hasThread
    }
    if needsThread { startThread() }
  }

  /// Waits until all that was added is written, or `seconds` have passed; says whether it is.
  @discardableResult
  func flush(atMost seconds: Double) -> Bool {
    state.wait(atMost: seconds) { $0.unwritten == 0 && $0.dropped == 0 }
  }

  private func takeDropped(_ state: inout State) -> Line {
    defer { state.dropped = 0 }
    state.unwritten += 1
    return lineAboutDropped(state.dropped)
  }

  /// It runs as long as the process does.
  private func startThread() {
    _ = BackgroundThread { [self] in
      while true {
        let lines = state.when({ !$0.waiting.isEmpty || $0.dropped > 0 }) { state in
          if state.waiting.isEmpty { state.waiting.append(takeDropped(&state)) }
          defer { state.waiting = [] }
          return state.waiting
        }
        for line in lines {
          write(line)
          state.update { $0.unwritten -= 1 }
        }
      }
    }
  }
}

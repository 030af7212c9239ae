import CFuse
import FSCore

/// Whether the kernel has got the answer to a mount's first request, with which it begins to serve
/// all others. It is seen where the answer is sent: a request of this process to its own mount
/// would keep the process from ending, should it die before it has answered.
final class FirstAnswer: Sendable {
  private enum State { case awaited, sent, givenUp }

  private let state = Guarded(State.awaited, rank: .leaf)

  /// Has libfuse's threads report to this object, which must outlive the session's loop.
  func observe() {
    cfuse_set_serving_handler(
      { argument in
        guard let argument else { return }
        let answer = Unmanaged<FirstAnswer>.fromOpaque(argument).takeUnretainedValue()
        answer.state.update { $0 = .sent }
      }, Unmanaged.passUnretained(self).toOpaque())
  }

  /// Called when the loop has ended: there may have been no answer.
  func giveUp() {
    state.update { if $0 == .awaited { $0 = .givenUp } }
  }

  /// Waits for the answer; false when there will be none.
  func wait() -> Bool { state.when({ $0 != .awaited }) { $0 == .sent } }
}

import CFuse
import FSCore
import Logging

/// libfuse's messages: to our log, but while it mounts they are kept, to be part of one clear line.
enum FuseLog {
  private struct State {
    var log: Logger?
    var kept: [String]?
  }

  private static let state = Guarded(State(), rank: .leaf)

  static func send(to log: Logger) {
    state.withLock { $0.log = log }
    cfuse_set_log_handler { level, text in
      guard let text else { return }
      FuseLog.receive(level, String(cString: text))
    }
  }

  private static func receive(_ level: Int32, _ text: String) {
    let line = text.split(whereSeparator: \.isNewline).joined(separator: " ")
    let log: Logger? = state.withLock { state in
      if state.kept != nil {
        state.kept?.append(line)
        return nil
      }
      return state.log
    }
    switch level {
    case ...3: log?.error("\(line)")
    case 4: log?.warning("\(line)")
    case 5, 6: log?.info("\(line)")
    default: log?.debug("\(line)")
    }
  }

  /// Runs `body`; returns its result and what libfuse said meanwhile.
  static func keeping<R>(_ body: () -> R) -> (result: R, messages: [String]) {
    state.withLock { $0.kept = [] }
    let result = body()
    let messages = state.withLock { state in
      defer { state.kept = nil }
      return state.kept ?? []
    }
    return (result, messages)
  }
}

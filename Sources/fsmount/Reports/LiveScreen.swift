import CFuse
import Glibc

/// Output that is renewed until a signal ends it: SIGINT, SIGTERM or SIGHUP, which from here on wait
/// for `wait` to take notice, so that nothing is cut off in its midst.
struct LiveScreen {
  let isTerminal = isatty(STDOUT_FILENO) == 1
  private let signals: sigset_t

  init() {
    var signals = sigset_t()
    sigemptyset(&signals)
    for signal in [SIGINT, SIGTERM, SIGHUP] { sigaddset(&signals, signal) }
    sigprocmask(SIG_BLOCK, &signals, nil)
    self.signals = signals
  }

  /// - Parameter isWhole: the lines take the place of those before, as far as the window has room;
  ///   else they follow them.
  func show(_ lines: [String], isWhole: Bool) {
    let lines = isWhole ? ScreenSize.ofStandardOutput().fit(lines) : lines
    let text = lines.map { $0 + (isWhole ? "\u{1b}[K\n" : "\n") }.joined()
    // To the upper left corner, and at the end what is left of the last picture goes.
    print(isWhole ? "\u{1b}[H\(text)\u{1b}[J" : text, terminator: "")
    fflush(nil)
  }

  /// Replaces the line that the cursor is in. What does not fit in it is left out.
  func showLine(_ line: String) {
    print("\r\(ScreenSize.ofStandardOutput().fit(line))\u{1b}[K", terminator: "")
    fflush(nil)
  }

  /// False when a signal came meanwhile.
  func wait(seconds: Double) -> Bool {
    var signals = signals
    var time = timespec(
      tv_sec: Int(seconds), tv_nsec: Int((seconds - seconds.rounded(.down)) * 1e9))
    return sigtimedwait(&signals, nil, &time) < 0
  }
}

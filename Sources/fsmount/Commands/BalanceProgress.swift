import ArgumentParser
import FSCore

/// Waits for the end of a balance, with a bar on a terminal. A signal ends the waiting, not the
/// balance.
struct BalanceProgress {
  let path: String

  /// From one question to the mount to the next.
  private static let seconds = 0.2

  /// Until the balance has ended or is paused; says how that was.
  func follow(from first: BalanceReport) throws {
    let report = try wait(from: first, for: ["running", "stopping"])
    switch report.outcome {
    case "failed", "no_space": throw CommandFailure(BalanceText(report).lines(path)[0])
    default: for line in BalanceText(report).lines(path) { print(line) }
    }
  }

  /// Until a balance that was told to stop has stopped. It may have come to its end by itself first.
  func waitUntilStopped(from first: BalanceReport) throws {
    let report = try wait(from: first, for: ["running", "stopping"])
    for line in BalanceText(report).lines(path) { print(line) }
  }

  private func wait(from first: BalanceReport, for phases: Set<String>) throws -> BalanceReport {
    let screen = LiveScreen()
    let style = TextStyle.ofStandardOutput()
    // The window may change meanwhile.
    func show(_ report: BalanceReport) {
      let width = ScreenSize.ofStandardOutput().usableColumns
      screen.showLine(BalanceText(report).progress(style, width: width))
    }
    var report = first
    while phases.contains(report.phase) {
      if screen.isTerminal { show(report) }
      guard screen.wait(seconds: Self.seconds) else {
        if screen.isTerminal { print("") }
        print("\(path): the balance goes on; 'fsmount balance cancel \(path)' ends it")
        throw ExitCode(130)
      }
      report = try ControlChannel(path).ask(BalanceStatusCall())
    }
    if screen.isTerminal {
      show(report)
      print("")
    }
    return report
  }
}

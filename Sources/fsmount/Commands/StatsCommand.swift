import ArgumentParser
import FSCore
import Glibc

struct StatsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stats",
    abstract: "Show how a mount fares: requests, commits, space, memory.",
    discussion: """
      The user that mounted the image may ask; root may where the mount lets it in (-o allow_other or \
      allow_root). All times and counts are since the mount began; with --watch, requests a second are \
      those of the last second, and else the mean.
      """)

  @Flag(help: "Print JSON; with --watch one line each second.")
  var json = false

  @Flag(
    help: ArgumentHelp(
      "Go on, once a second, until interrupted.",
      discussion: "On a terminal the screen is drawn anew; else a line is printed."))
  var watch = false

  @Argument(help: ArgumentHelp("A directory or file in the mount.", valueName: "mountpoint"))
  var path: String

  func run() throws {
    guard watch else {
      let report = StatsReport(now: try ask(), before: nil)
      if json {
        print(ControlJSON.text(report.figures))
      } else {
        for line in report.lines(.ofStandardOutput()) { print(line) }
      }
      return
    }

    let style = TextStyle.ofStandardOutput()
    let screen = LiveScreen()
    var before: MountStatistics?
    repeat {
      let now = try ask()
      let report = StatsReport(now: now, before: before)
      if json {
        let text = String(decoding: ControlJSON.encode(report.figures), as: UTF8.self)
        screen.show([text], isWhole: false)
      } else {
        let lines = screen.isTerminal ? report.lines(style) : [report.summary]
        screen.show(lines, isWhole: screen.isTerminal)
      }
      before = now
    } while screen.wait(seconds: 1)
  }

  /// The path is opened anew each time: an open one would keep the mount from being unmounted.
  private func ask() throws(CommandFailure) -> MountStatistics {
    try ControlChannel(path).ask(StatsCall())
  }
}

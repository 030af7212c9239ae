import ArgumentParser
import TestSupport

struct ShowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show",
    abstract: "Prints and draws the results of earlier runs.",
    discussion: """
      Takes files that --json has written. Those of one command become one table: rows that several \
      have get the samples of all.
      """)

  @Argument(help: "Result files.")
  var files: [String]

  @OptionGroup var output: ReportOptions

  func run() throws {
    var reports: [BenchReport] = []
    for file in files {
      let report = try BenchReport(json: readFile(BytePath(file)))
      if let place = reports.firstIndex(where: { $0.command == report.command }) {
        reports[place] = reports[place].joined(with: report)
      } else {
        reports.append(report.completed)
      }
    }
    try output.publish(reports)
  }
}

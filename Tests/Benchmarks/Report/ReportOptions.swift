import ArgumentParser
import TestSupport

/// Where a run's results go, beside standard output.
struct ReportOptions: ParsableArguments {
  @Option(help: "A file for all samples, medians and ratios, as JSON.")
  var json: String?

  @Option(help: "A file for a chart of the ratios to the kernel's btrfs, as SVG.")
  var svg: String?

  @Option(help: "A file for the table, as Markdown.")
  var markdown: String?

  /// Prints the tables and writes the files. A chart shows all reports below each other; the JSON is that
  /// of a single one.
  func publish(_ reports: [BenchReport]) throws {
    let text = reports.map { ReportTable(report: $0).markdown }.joined(separator: "\n\n")
    say(text)
    if let markdown { try writeFile(BytePath(markdown), Array((text + "\n").utf8)) }
    if let svg { try writeFile(BytePath(svg), Array(ChartSVG(ChartLayout(reports)).text.utf8)) }
    if let json, let report = reports.first {
      guard reports.count == 1 else {
        throw ValidationError("a result file is of one command; these are \(reports.count)")
      }
      try writeFile(BytePath(json), report.json)
    }
  }
}

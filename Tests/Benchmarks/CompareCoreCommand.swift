import ArgumentParser
import TestSupport

/// The core's rows of two builds of this program, which run in turns.
struct CompareCoreCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare-core",
    abstract: "Compares the core of two builds: runs `PROGRAM core-bench` of each, in turns.",
    discussion: "Prints each row's medians. Most figures are times, of which less is better.")

  @Option(help: "The benchmarks program to compare with.")
  var old: String

  @Option(help: "The program to look at; this one if left out.")
  var new: String?

  @Option(help: "Repetitions, of which the median counts; 5 at least.")
  var repetitions = 5

  func validate() throws {
    guard repetitions >= 5 else {
      throw ValidationError("a median of fewer than 5 repetitions says nothing")
    }
  }

  func run() throws {
    let programs = [old, new ?? CommandLine.arguments[0]]
    var names: [String] = []
    var units: [String: String] = [:]
    var figures: [String: [[Double]]] = [:]
    for repetition in 1...repetitions {
      for index in repetition % 2 == 1 ? [0, 1] : [1, 0] {
        let result = try Shell.run(programs[index], "core-bench", timeout: 600).orThrow()
        for (name, figure, unit) in Self.rows(of: result.output) {
          if figures[name] == nil { names.append(name) }
          figures[name, default: [[], []]][index].append(figure)
          units[name] = unit
        }
      }
      standardError("repetition \(repetition) of \(repetitions) done")
    }

    var rows = [["", "unit", "old", "new", "new/old"]]
    for name in names {
      let both = figures[name] ?? [[], []]
      let cells = both.map { $0.median.map(rounded) ?? "–" }
      var ratio = "–"
      if let before = both[0].median, let now = both[1].median, before > 0 {
        ratio = MarkdownTable.ratio(now / before)
      }
      rows.append([name, units[name] ?? "", cells[0], cells[1], ratio])
    }
    say(MarkdownTable.text(rows, leftAligned: 2))
  }

  /// The rows `| what | 12.3 µs |` of a table.
  private static func rows(of table: String) -> [(name: String, figure: Double, unit: String)] {
    table.split(separator: "\n").compactMap { line in
      let cells = line.split(separator: "|").map {
        String($0.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
      }
      guard cells.count == 2 else { return nil }
      let number = cells[1].prefix { $0.isNumber || $0 == "." }
      guard let figure = Double(number) else { return nil }
      let unit = cells[1].dropFirst(number.count).drop { $0 == " " }
      return (cells[0], figure, String(unit))
    }
  }
}

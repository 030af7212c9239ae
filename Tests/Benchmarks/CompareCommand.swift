import ArgumentParser
import TestSupport

/// Two builds of the program in one run, so that what else the machine does meets both alike.
struct CompareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare",
    abstract: "Compares the mounts of two builds of fsmount, in turns.",
    discussion: """
      Prints for each row the median of both builds' figures and how many times as fast the new \
      one is. It judges nothing: a busy machine makes differences where there are none.
      """)

  @Option(help: "The program to compare with.")
  var old: String

  @Option(help: "The program to look at; this checkout's if left out.")
  var new: String?

  @Option(help: "Size of the large file in MiB.")
  var megabytes = 256

  @Option(help: "Number of small files.")
  var files = 5_000

  @Option(help: "Repetitions, of which the median counts; 5 at least.")
  var repetitions = 5

  @Option(help: "Where the images are, on a disk for instance; in memory if left out.")
  var directory: String?

  @Flag(help: "Only the rows that make a little durable at a time.")
  var syncOnly = false

  func validate() throws {
    guard repetitions >= 5 else {
      throw ValidationError("a median of fewer than 5 repetitions says nothing")
    }
  }

  func run() throws {
    let builds = [
      FsmountBuild(program: old), FsmountBuild(program: try new ?? FsmountProgram.required()),
    ]
    var options = BenchOptions()
    options.megabytes = megabytes
    options.files = files
    options.syncOnly = syncOnly
    let place =
      try directory.map { try TemporaryDirectory(in: $0) } ?? TemporaryDirectory(inMemory: true)
    let mountPoint = try place.directory("mount")

    var figures: [BenchMetric: [[Double]]] = [:]
    for repetition in 1...repetitions {
      // Each goes first every other time.
      for index in repetition % 2 == 1 ? [0, 1] : [1, 0] {
        let pass = try BenchPass(
          subject: builds[index], image: place.file("bench.img"), directory: mountPoint,
          options: options)
        try pass.run()
        for (metric, figure) in pass.figures {
          figures[metric, default: [[], []]][index].append(figure)
        }
      }
      standardError("repetition \(repetition) of \(repetitions) done")
    }

    var rows = [["", "", "old", "new", "new/old"]]
    for metric in BenchMetric.allCases {
      guard let both = figures[metric], let before = both[0].median, let now = both[1].median
      else { continue }
      rows.append([
        metric.rawValue, metric.isThroughput ? "MB/s" : "ops/s", MarkdownTable.grouped(before),
        MarkdownTable.grouped(now), MarkdownTable.ratio(now / before),
      ])
    }
    say(MarkdownTable.text(rows, leftAligned: 2))
  }
}

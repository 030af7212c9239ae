import ArgumentParser
import TestSupport

/// Two builds of the program in one run, so that what else the machine does meets both alike.
struct CompareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare",
    abstract: "Compares the mounts of two builds of fsmount, in turns.",
    discussion: """
      Both are mounted at once, and each phase runs on one right after the other. Prints for each \
      row the median of both builds' figures, how many times as fast the new one is (the median of \
      the ratios of the pairs), and the range in which that median is with 95 % certainty. A range \
      with 1 in it shows no difference. It judges nothing.
      """)

  @Option(help: "The program to compare with.")
  var old: String

  @Option(help: "The program to look at; this checkout's if left out.")
  var new: String?

  @Option(help: "Size of the large file in MiB.")
  var megabytes = 256

  @Option(help: "Number of small files.")
  var files = 5_000

  @Option(help: "Number of writes with an fsync after each, by one thread.")
  var syncs = 1_000

  @Option(help: "Repetitions, of which the median counts; 6 at least.")
  var repetitions = 15

  @Option(help: "Where the images are, on a disk for instance; in memory if left out.")
  var directory: String?

  @Flag(help: "Only the rows that make a little durable at a time.")
  var syncOnly = false

  func validate() throws {
    guard repetitions >= 6 else {
      throw ValidationError("a median of fewer than 6 repetitions says nothing")
    }
  }

  func run() throws {
    let builds = [
      FsmountBuild(program: old), FsmountBuild(program: try new ?? FsmountProgram.required()),
    ]
    var options = BenchOptions()
    options.megabytes = megabytes
    options.files = files
    options.syncCount = syncs
    options.syncOnly = syncOnly
    let place =
      try directory.map { try TemporaryDirectory(in: $0) } ?? TemporaryDirectory(inMemory: true)
    let images = ["old", "new"].map { place.file("\($0).img") }
    let mountPoints = try ["old", "new"].map { try place.directory($0) }

    var figures: [BenchMetric: [[Double]]] = [:]
    for repetition in 1...repetitions {
      // Each goes first every other time.
      let order = repetition % 2 == 1 ? [0, 1] : [1, 0]
      let passes = try pair(builds, images, mountPoints, options)
      defer { for pass in passes { try? pass.end() } }
      for phase in BenchPass.phases(options) {
        for index in order { try passes[index].run(phase) }
      }
      for (index, pass) in passes.enumerated() {
        try pass.end()
        for (metric, figure) in pass.figures {
          figures[metric, default: [[], []]][index].append(figure)
        }
      }
      standardError("repetition \(repetition) of \(repetitions) done")
    }

    var rows = [["", "", "old", "new", "new/old", "95 %"]]
    for metric in BenchMetric.allCases {
      guard let both = figures[metric], let before = both[0].median, let now = both[1].median
      else { continue }
      let ratios = zip(both[0], both[1]).map { $1 / $0 }
      guard let ratio = ratios.median, let range = ratios.rangeOfMedian else { continue }
      rows.append([
        metric.rawValue, metric.unit, MarkdownTable.grouped(before),
        MarkdownTable.grouped(now), MarkdownTable.ratio(ratio),
        "\(MarkdownTable.ratio(range.lowerBound)) to \(MarkdownTable.ratio(range.upperBound))",
      ])
    }
    say(MarkdownTable.text(rows, leftAligned: 2))
  }

  private func pair(
    _ builds: [FsmountBuild], _ images: [String], _ mountPoints: [String], _ options: BenchOptions
  ) throws -> [BenchPass] {
    let first = try BenchPass(
      subject: builds[0], image: images[0], directory: mountPoints[0], options: options)
    do {
      let second = try BenchPass(
        subject: builds[1], image: images[1], directory: mountPoints[1], options: options)
      return [first, second]
    } catch {
      try? first.end()
      throw error
    }
  }
}

import ArgumentParser
import TestSupport

struct MountsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mounts",
    abstract: "Compares fsmount with fuse2fs, ntfs-3g and the kernel's btrfs, side by side.",
    discussion: """
      Prints a table in Markdown: for each row the median of several interleaved repetitions, and \
      in brackets each peer's speed as a multiple of fsmount's. The empty server answers the same \
      requests as fsmount, keeps files in memory and does nothing else: what is slower than that is \
      fsmount's own, the rest belongs to the protocol.
      """)

  @Option(help: "Size of the large file in MiB.")
  var megabytes = 1024

  @Option(help: "Number of small files.")
  var files = 5_000

  @Option(help: "Repetitions, of which the median counts.")
  var repetitions = 3

  @Option(
    help: """
      Peers, separated by commas: fsmount, allow_other, fuse2fs, ntfs-3g, kernel, empty; all that are \
      present but allow_other if left out.
      """)
  var peers: String?

  @Option(help: "Where the images are, on a disk for instance; in memory if left out.")
  var directory: String?

  @Flag(help: "Only the rows that make a little durable at a time.")
  var syncOnly = false

  @Flag(help: "A quick look with small sizes and one repetition.")
  var quick = false

  @Flag(help: "Fail when a row is slower than fuse2fs's.")
  var strict = false

  @OptionGroup var output: ReportOptions

  private typealias Samples = [BenchMetric: [BenchPeer: [Double]]]

  func run() throws {
    var options = quick ? BenchOptions.quick : BenchOptions()
    if !quick {
      options.megabytes = megabytes
      options.files = files
    }
    options.syncOnly = syncOnly
    let present = try BenchPeer.present(
      peers, among: BenchPeer.allCases.filter { $0 != .fsmountForAll })
    let repetitions = quick ? 1 : repetitions
    let samples = try measure(present, options, repetitions)

    let rows = BenchMetric.allCases.compactMap { metric -> BenchReport.Row? in
      guard let figures = samples[metric] else { return nil }
      return BenchReport.Row(
        name: metric.rawValue, unit: metric.unit,
        results: present.compactMap { peer in
          figures[peer].map { BenchReport.Result(subject: peer.rawValue, samples: $0) }
        })
    }
    let report = BenchReport(
      command: "mounts",
      options: [
        "megabytes": "\(options.megabytes)", "files": "\(options.files)",
        "random": "\(options.randomCount)", "syncs": "\(options.syncCount)",
        "repetitions": "\(repetitions)", "directory": directory ?? "in memory",
      ],
      subjects: present.map(\.rawValue), rows: rows,
      versions: Machine.versions(of: ["fsmount", "fuse2fs", "ntfs-3g", "mkfs.btrfs"]))
    try output.publish([report])

    let slower = ReportTable(report: report).slowerThanFuse2fs
    if !slower.isEmpty {
      say("\nSlower than fuse2fs: \(slower.joined(separator: "; ")).")
      if strict { throw ExitCode.failure }
    }
  }

  private func measure(
    _ peers: [BenchPeer], _ options: BenchOptions, _ repetitions: Int
  ) throws -> Samples {
    let directory =
      try directory.map { try TemporaryDirectory(in: $0) }
      ?? TemporaryDirectory(inMemory: true)
    let mountPoint = try directory.directory("mount")
    let image = directory.file("bench.img")
    var samples: Samples = [:]
    for repetition in 1...repetitions {
      for peer in peers {
        let pass = try BenchPass(
          subject: peer, image: image, directory: mountPoint, options: options)
        do {
          try pass.run()
        } catch {
          standardError("\(peer.rawValue) fails: \(error)")
        }
        for (metric, figure) in pass.figures {
          samples[metric, default: [:]][peer, default: []].append(figure)
        }
        standardError("repetition \(repetition): \(peer.rawValue) done")
      }
    }
    return samples
  }
}

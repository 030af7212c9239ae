@testable import benchmarks

/// Reports of made-up figures.
enum ReportFixture {
  static func row(
    _ name: String, _ unit: String, _ samples: [(BenchPeer, [Double])]
  ) -> BenchReport.Row {
    BenchReport.Row(
      name: name, unit: unit,
      results: samples.map { BenchReport.Result(subject: $0.0.rawValue, samples: $0.1) })
  }

  static func report(
    _ rows: [BenchReport.Row], command: String = "mounts",
    _ peers: [BenchPeer] = BenchPeer.allCases
  ) -> BenchReport {
    BenchReport(
      command: command, options: ["files": "100"], subjects: peers.map(\.rawValue), rows: rows)
  }

  /// One row in seconds, where less is better, and one in operations.
  static let small = report([
    row("untar", "s", [(.fsmount, [2, 1, 4]), (.fuse2fs, [8]), (.ntfs3g, [4]), (.kernel, [1])]),
    row(
      "stat", "ops/s",
      [(.fsmount, [3000]), (.fuse2fs, [1000]), (.ntfs3g, [1500]), (.kernel, [1500])]),
  ])
}

import Testing

@testable import benchmarks

@Suite(.timeLimit(.minutes(1))) struct ReportTests {
  @Test func medians() {
    #expect([Double]().median == nil)
    #expect([5.0].median == 5)
    #expect([9.0, 1, 5].median == 5)
    #expect([9.0, 1, 5, 6].median == 5.5)
  }

  @Test func geometricMeans() throws {
    #expect([Double]().geometricMean == nil)
    #expect([1.0, 0].geometricMean == nil)
    let mean = try #require([0.5, 2, 8].geometricMean)
    #expect(abs(mean - 2) < 1e-12)
  }

  /// Of something that lasts, half of the time is twice the speed.
  @Test func ratiosAreOfSpeeds() throws {
    let report = ReportFixture.small
    let untar = try #require(report.rows.first)
    #expect(untar.result(of: "fsmount")?.median == 2)
    #expect(untar.result(of: "fsmount")?.timesKernel == 0.5)
    #expect(untar.result(of: "fuse2fs")?.timesFsmount == 0.25)
    #expect(untar.result(of: "kernel btrfs")?.timesFsmount == 2)
    let stat = try #require(report.rows.last)
    #expect(stat.result(of: "fsmount")?.timesKernel == 2)
    #expect(stat.ratio(of: "fsmount", to: "empty server") == nil)
  }

  /// 0.5 and 2 against the kernel, 2 and 2 against the best other server of each row.
  @Test func meansOfRows() throws {
    let report = ReportFixture.small
    func mean(_ against: String) -> BenchReport.Mean? {
      report.means.first { $0.subject == "fsmount" && $0.against == against }
    }
    let kernel = try #require(mean("kernel btrfs"))
    #expect(abs(kernel.ratio - 1) < 1e-12 && kernel.rows == 2)
    let best = try #require(mean(BenchReport.bestPeer))
    #expect(abs(best.ratio - 2) < 1e-12 && best.rows == 2)
    let fuse2fs = try #require(mean("fuse2fs"))
    #expect(abs(fuse2fs.ratio - 12.0.squareRoot()) < 1e-12)
    #expect(mean("empty server") == nil)
    #expect(!report.means.contains { $0.subject == "fsmount, allow_other" })
  }

  @Test func table() {
    let lines = ReportTable(report: ReportFixture.small).text.split(separator: "\n")
    #expect(lines.count == 4)
    #expect(Set(lines.map(\.count)).count == 1)
    #expect(lines[2].contains("| s     |"))
    #expect(lines[2].contains(" 2.00 |"))
    #expect(lines[2].contains(" 8.00 (0.25×) |"))
    #expect(lines[2].contains(" – |"))
    #expect(lines[3].contains(" 3 000 |"))
    #expect(lines[3].contains(" 1 500 (0.50×) |"))
  }

  @Test func slowerRows() {
    #expect(ReportTable(report: ReportFixture.small).slowerThanFuse2fs.isEmpty)
    let other = ReportFixture.report([
      ReportFixture.row("slow", "s", [(.fsmount, [2]), (.fuse2fs, [1])]),
      ReportFixture.row("alone", "s", [(.fsmount, [2])]),
    ])
    #expect(ReportTable(report: other).slowerThanFuse2fs == ["slow"])
  }

  @Test func resultFilesAreReadAgain() throws {
    let report = ReportFixture.small
    let json = try report.json
    let text = String(decoding: json, as: UTF8.self)
    #expect(text.contains(#""times_kernel" : 0.5"#))
    #expect(text.contains(#""samples" : ["#))
    #expect(try BenchReport(json: json) == report)
    #expect(throws: (any Error).self) {
      try BenchReport(json: Array(text.replacing(#""format" : 1"#, with: #""format" : 2"#).utf8))
    }
  }

  @Test func runsAreJoined() throws {
    let first = ReportFixture.report(
      [ReportFixture.row("a", "s", [(.fsmount, [1, 2])])], [.fsmount])
    let second = ReportFixture.report(
      [
        ReportFixture.row("a", "s", [(.fsmount, [9]), (.kernel, [4])]),
        ReportFixture.row("b", "s", [(.kernel, [3])]),
      ], [.fsmount, .kernel])
    let both = first.joined(with: second)
    #expect(both.subjects == ["fsmount", "kernel btrfs"])
    #expect(both.rows.map(\.name) == ["a", "b"])
    #expect(both.rows[0].result(of: "fsmount")?.samples == [1, 2, 9])
    #expect(both.rows[0].result(of: "fsmount")?.median == 2)
    #expect(both.rows[0].result(of: "kernel btrfs")?.timesFsmount == 0.5)
    #expect(both.means.count == 1)
  }
}

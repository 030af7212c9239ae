import TestSupport

/// A report as a table in Markdown, with what is to be said below it.
struct ReportTable {
  let report: BenchReport

  var text: String {
    var rows = [["", ""] + report.subjects]
    for row in report.rows {
      rows.append([row.name, row.unit] + report.subjects.map { cell(row, $0) })
    }
    return MarkdownTable.text(rows, leftAligned: 2)
  }

  /// The figure, and in brackets the subject's speed as a multiple of fsmount's.
  private func cell(_ row: BenchReport.Row, _ subject: String) -> String {
    guard let result = row.result(of: subject) else { return "–" }
    let text =
      row.isDuration ? MarkdownTable.ratio(result.median) : MarkdownTable.grouped(result.median)
    guard subject != BenchPeer.fsmount.rawValue, let ratio = result.timesFsmount else {
      return text
    }
    return "\(text) (\(MarkdownTable.ratio(ratio))×)"
  }

  /// One sentence for each subject of ours that is compared with something.
  var means: [String] {
    report.subjects.compactMap { subject in
      let means = report.means.filter { $0.subject == subject }
      guard !means.isEmpty else { return nil }
      let parts = means.map { mean in
        let rows = mean.rows == 1 ? "1 row" : "\(mean.rows) rows"
        return "\(MarkdownTable.ratio(mean.ratio)) times \(mean.against) (\(rows))"
      }
      return "Geometric mean of \(subject): \(parts.joined(separator: ", "))."
    }
  }

  /// The rows in which fsmount is slower than fuse2fs.
  var slowerThanFuse2fs: [String] {
    report.rows.filter { row in
      row.ratio(of: BenchPeer.fsmount.rawValue, to: BenchPeer.fuse2fs.rawValue)
        .map { $0 < 1 } ?? false
    }.map(\.name)
  }

  /// All of it.
  var markdown: String {
    ([text, ""] + means + report.remarks).joined(separator: "\n")
  }
}

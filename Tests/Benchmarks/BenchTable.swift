import TestSupport

/// The figures as a table in Markdown.
struct BenchTable {
  typealias Results = [BenchMetric: [BenchPeer: [Double]]]

  let peers: [BenchPeer]
  let results: Results

  private func median(_ metric: BenchMetric, _ peer: BenchPeer) -> Double? {
    guard let values = results[metric]?[peer]?.sorted(), !values.isEmpty else { return nil }
    let middle = values.count / 2
    return values.count % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2
  }

  var text: String {
    var rows = [["", ""] + peers.map(\.rawValue)]
    for metric in BenchMetric.allCases where results[metric] != nil {
      let unit = metric.isThroughput ? "MB/s" : "ops/s"
      rows.append([metric.rawValue, unit] + peers.map { cell(metric, $0) })
    }
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    var lines: [String] = []
    for (index, row) in rows.enumerated() {
      let cells = row.enumerated().map { column, cell in
        let padding = String(repeating: " ", count: widths[column] - cell.count)
        return column < 2 ? cell + padding : padding + cell
      }
      lines.append("| " + cells.joined(separator: " | ") + " |")
      if index == 0 {
        let rules = widths.enumerated().map { column, width in
          String(repeating: "-", count: width + 1) + (column < 2 ? "-" : ":")
        }
        lines.append("|" + rules.joined(separator: "|") + "|")
      }
    }
    return lines.joined(separator: "\n")
  }

  private func cell(_ metric: BenchMetric, _ peer: BenchPeer) -> String {
    guard let figure = median(metric, peer) else { return "–" }
    guard peer != .fsmount, let ours = median(metric, .fsmount) else { return grouped(figure) }
    let hundredths = Int((figure / ours * 100).rounded())
    let fraction = hundredths % 100
    return "\(grouped(figure)) (\(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction)×)"
  }

  /// `12 345`, so that long figures can be read.
  private func grouped(_ figure: Double) -> String {
    let digits = Array(String(Int(figure.rounded())))
    var text = ""
    for (index, digit) in digits.enumerated() {
      if index > 0, (digits.count - index) % 3 == 0 { text.append(" ") }
      text.append(digit)
    }
    return text
  }

  var slowerThanFuse2fs: [String] {
    BenchMetric.allCases.filter { metric in
      guard let ours = median(metric, .fsmount), let theirs = median(metric, .fuse2fs) else {
        return false
      }
      return ours < theirs
    }.map(\.rawValue)
  }
}

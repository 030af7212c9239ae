import TestSupport

/// The figures as a table in Markdown.
struct BenchTable {
  typealias Results = [BenchMetric: [BenchPeer: [Double]]]

  let peers: [BenchPeer]
  let results: Results

  private func median(_ metric: BenchMetric, _ peer: BenchPeer) -> Double? {
    results[metric]?[peer]?.median
  }

  var text: String {
    var rows = [["", ""] + peers.map(\.rawValue)]
    for metric in BenchMetric.allCases where results[metric] != nil {
      let unit = metric.isThroughput ? "MB/s" : "ops/s"
      rows.append([metric.rawValue, unit] + peers.map { cell(metric, $0) })
    }
    return MarkdownTable.text(rows, leftAligned: 2)
  }

  private func cell(_ metric: BenchMetric, _ peer: BenchPeer) -> String {
    guard let figure = median(metric, peer) else { return "–" }
    let text = MarkdownTable.grouped(figure)
    guard peer != .fsmount, let ours = median(metric, .fsmount) else { return text }
    return "\(text) (\(MarkdownTable.ratio(figure / ours))×)"
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

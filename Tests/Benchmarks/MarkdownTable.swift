import Glibc

/// Tables in Markdown whose columns stand below each other in a terminal too.
enum MarkdownTable {
  /// - Parameter leftAligned: so many columns; the others are figures.
  static func text(_ rows: [[String]], leftAligned: Int) -> String {
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    var lines: [String] = []
    for (index, row) in rows.enumerated() {
      let cells = row.enumerated().map { column, cell in
        let padding = String(repeating: " ", count: widths[column] - cell.count)
        return column < leftAligned ? cell + padding : padding + cell
      }
      lines.append("| " + cells.joined(separator: " | ") + " |")
      if index == 0 {
        let rules = widths.enumerated().map { column, width in
          String(repeating: "-", count: width + 1) + (column < leftAligned ? "-" : ":")
        }
        lines.append("|" + rules.joined(separator: "|") + "|")
      }
    }
    return lines.joined(separator: "\n")
  }

  /// `0.97`
  static func ratio(_ value: Double) -> String {
    let hundredths = Int((value * 100).rounded())
    let fraction = hundredths % 100
    return "\(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction)"
  }

  /// `12 345`, so that long figures can be read.
  static func grouped(_ figure: Double) -> String {
    let digits = Array(String(Int(figure.rounded())))
    var text = ""
    for (index, digit) in digits.enumerated() {
      if index > 0, (digits.count - index) % 3 == 0 { text.append(" ") }
      text.append(digit)
    }
    return text
  }
}

extension MarkdownTable {
  static func grouped(_ figure: Int) -> String { grouped(Double(figure)) }
}

extension Array where Element == Double {
  /// Of values above 0; nil when there are none.
  var geometricMean: Double? {
    guard !isEmpty, allSatisfy({ $0 > 0 }) else { return nil }
    return exp(reduce(0) { $0 + log($1) } / Double(count))
  }

  var median: Double? {
    guard !isEmpty else { return nil }
    let values = sorted()
    let middle = count / 2
    return count % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2
  }

  /// Where the median of what these values are drawn from is with at least 95 % certainty, whatever
  /// their distribution: between the two values of the sort order that the sign test says. Nothing for
  /// fewer than six values, which cannot be as certain.
  var rangeOfMedian: ClosedRange<Double>? {
    guard count >= 6 else { return nil }
    let values = sorted()
    // The chance that at most `rank` of the values are below the median.
    var term = 1.0
    for _ in 0..<count { term /= 2 }
    var chance = term
    var rank = 0
    while chance + term * Double(count - rank) / Double(rank + 1) <= 0.025 {
      term *= Double(count - rank) / Double(rank + 1)
      rank += 1
      chance += term
    }
    return values[Swift.min(rank, (count - 1) / 2)]...values[Swift.max(count - 1 - rank, count / 2)]
  }
}

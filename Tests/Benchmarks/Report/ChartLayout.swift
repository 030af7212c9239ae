import Glibc

/// Where everything of a chart stands: for each row a bar of each subject, from 1, which is the speed of
/// the kernel's btrfs, to the left or to the right, on a logarithmic scale.
///
/// 1. No text lies over another one, over a bar of another subject, or outside the picture. Widths of
///    texts are estimates from above, as nobody knows the reader's fonts.
/// 2. Bars of all sections have the same scale.
struct ChartLayout {
  struct Box: Equatable {
    var x, y, width, height: Double
    var right: Double { x + width }
    var bottom: Double { y + height }

    func overlaps(_ other: Box) -> Bool {
      x < other.right - 0.01 && other.x < right - 0.01 && y < other.bottom - 0.01
        && other.y < bottom - 0.01
    }
  }

  struct Text {
    var text: String
    var box: Box
    var size: Double
    var style: Style
    var anchor = Anchor.start
    var baseline: Double { box.y + size }

    /// The point of the text that the anchor says.
    var x: Double {
      switch anchor {
      case .start: box.x
      case .middle: box.x + box.width / 2
      case .end: box.right
      }
    }
  }

  enum Anchor: String { case start, middle, end }

  enum Style: String { case title, heading, label, dim, value, strong }

  struct Bar {
    var subject: Int
    var box: Box
  }

  static let margin = 20.0
  private static let plotWidth = 600.0
  private static let barHeight = 8.0
  private static let barPitch = 11.0
  private static let rowGap = 9.0
  private static let labelSize = 12.0
  private static let valueSize = 9.0

  private(set) var width = 0.0
  private(set) var height = 0.0
  private(set) var texts: [Text] = []
  private(set) var bars: [Bar] = []
  /// The coloured squares of the legend.
  private(set) var keys: [Bar] = []
  /// Behind every other row, so that the eye finds from a name to its bars.
  private(set) var bands: [Box] = []
  /// Vertical lines of the scale; the one at 1 is `base`.
  private(set) var grid: [Box] = []
  private(set) var base = Box(x: 0, y: 0, width: 0, height: 0)

  private var isBanded = false

  /// All subjects but the kernel's btrfs, in the order of their first columns.
  let subjects: [String]
  private let scale: ChartScale
  private let labelWidth: Double
  private var plotLeft: Double { Self.margin + labelWidth + 12 }
  /// So much of the plot is for the figures at both ends.
  private static let valueRoom = Self.textWidth("0.001", valueSize) + 8

  init(_ reports: [BenchReport]) {
    let kernel = BenchPeer.kernel.rawValue
    var subjects: [String] = []
    for subject in reports.flatMap(\.subjects) where subject != kernel {
      if !subjects.contains(subject) { subjects.append(subject) }
    }
    self.subjects = subjects
    let rows = reports.flatMap(\.rows)
    scale = ChartScale(
      rows.flatMap { row in subjects.compactMap { row.ratio(of: $0, to: kernel) } })
    labelWidth =
      (rows.map(\.name) + [Self.meanLabel]).map { Self.textWidth($0, Self.labelSize) }.max() ?? 0
    width = (Self.margin + labelWidth + 12 + Self.plotWidth + Self.margin).rounded(.up)

    var y = head(reports)
    let top = y
    for report in reports {
      y = section(report, isOnly: reports.count == 1, from: y)
    }
    ticks(above: top, below: y)
    height = (y + 20 + Self.margin).rounded(.up)
  }

  static let meanLabel = "geometric mean"

  private static func heading(_ command: String) -> String {
    switch command {
    case "applications": "What people do"
    case "mounts": "Single operations"
    default: command
    }
  }

  /// From above: letters of common sans-serif fonts are no wider on the average.
  static func textWidth(_ text: String, _ size: Double) -> Double {
    Double(text.count) * size * 0.62
  }

  // The parts, from the top to the bottom; each returns where the next one may begin.

  private mutating func head(_ reports: [BenchReport]) -> Double {
    var y = Self.margin
    y = lines("Speed as a multiple of kernel btrfs on a loop device", 18, .title, from: y) + 4
    y =
      lines(
        "To the right of 1 is faster than kernel btrfs, to the left slower. Logarithmic scale; "
          + "medians; all in one run.", 12, .dim, from: y)
    if let report = reports.first {
      y = lines("\(report.machine.text); commit \(report.commit)", 11, .dim, from: y)
    }
    return legend(from: y + 8) + 22
  }

  /// A text from the left margin on, in as many lines as the width asks for.
  private mutating func lines(
    _ text: String, _ size: Double, _ style: Style, from top: Double
  ) -> Double {
    var y = top
    var line = ""
    func isTooLong(_ text: String) -> Bool {
      Self.textWidth(text, size) > width - 2 * Self.margin
    }
    let words = text.split(separator: " ")
    for (index, word) in words.enumerated() {
      let longer = line.isEmpty ? String(word) : "\(line) \(word)"
      if isTooLong(longer), !line.isEmpty {
        add(line, x: Self.margin, y: y, size, style)
        y += size * 1.4
        line = String(word)
      } else {
        line = longer
      }
      if index == words.count - 1 {
        add(line, x: Self.margin, y: y, size, style)
        y += size * 1.4
      }
    }
    return y
  }

  private mutating func legend(from top: Double) -> Double {
    var (x, y) = (Self.margin, top)
    for (index, subject) in subjects.enumerated() {
      let entry = 16 + Self.textWidth(subject, Self.labelSize) + 18
      if x + entry > width - Self.margin, x > Self.margin { (x, y) = (Self.margin, y + 18) }
      keys.append(Bar(subject: index, box: Box(x: x, y: y + 2.5, width: 11, height: 11)))
      add(subject, x: x + 16, y: y, Self.labelSize, .label)
      x += entry
    }
    return y + 18
  }

  private mutating func section(
    _ report: BenchReport, isOnly: Bool, from top: Double
  ) -> Double {
    var y = top
    if !isOnly {
      add(Self.heading(report.command), x: Self.margin, y: y, 13, .heading)
      y += 26
    }
    let kernel = BenchPeer.kernel.rawValue
    for row in report.rows {
      y = group(row.name, .label, from: y) { row.ratio(of: $0, to: kernel) }
    }
    y = group(Self.meanLabel, .strong, from: y) {
      report.mean(of: $0, against: kernel)?.ratio
    }
    return y + 6
  }

  private mutating func group(
    _ name: String, _ style: Style, from top: Double, _ ratio: (String) -> Double?
  ) -> Double {
    isBanded.toggle()
    let present = subjects.enumerated().compactMap { index, subject in
      ratio(subject).map { (index, $0) }
    }
    guard !present.isEmpty else { return top }
    let height = Double(max(present.count, 2)) * Self.barPitch
    if isBanded {
      bands.append(
        Box(
          x: Self.margin / 2, y: top - Self.rowGap / 2, width: width - Self.margin,
          height: height + Self.rowGap))
    }
    let label = top + (height - Self.labelSize * 1.25) / 2
    add(name, x: plotLeft - 12, y: label, Self.labelSize, style, .end)
    var y = top + (height - Double(present.count) * Self.barPitch) / 2
    for (index, ratio) in present {
      let (zero, end) = (x(of: 1), x(of: ratio))
      bars.append(
        Bar(
          subject: index,
          box: Box(
            x: min(zero, end), y: y + (Self.barPitch - Self.barHeight) / 2,
            width: max(abs(end - zero), 1), height: Self.barHeight)))
      let isLeft = ratio < 1
      add(
        Self.figure(ratio), x: isLeft ? min(end, zero) - 3 : max(end, zero) + 4, y: y - 0.5,
        Self.valueSize, style == .strong ? .strong : .value, isLeft ? .end : .start)
      y += Self.barPitch
    }
    return top + height + Self.rowGap
  }

  /// The lines of the scale from `top` to `bottom`, with their figures at both ends.
  private mutating func ticks(above top: Double, below bottom: Double) {
    for value in scale.ticks {
      let line = Box(x: x(of: value), y: top - 4, width: 0, height: bottom - top + 4)
      if value == 1 { base = line } else { grid.append(line) }
      let text = Self.tick(value)
      add(text, x: line.x, y: top - 18, 10, .dim, .middle)
      add(text, x: line.x, y: bottom + 4, 10, .dim, .middle)
    }
  }

  private func x(of ratio: Double) -> Double {
    plotLeft + Self.valueRoom
      + scale.share(of: ratio) * (Self.plotWidth - 2 * Self.valueRoom)
  }

  /// - Parameter x: of the point that the anchor says.
  private mutating func add(
    _ text: String, x: Double, y: Double, _ size: Double, _ style: Style,
    _ anchor: Anchor = .start
  ) {
    let width = Self.textWidth(text, size)
    let before =
      switch anchor {
      case .start: 0.0
      case .middle: width / 2
      case .end: width
      }
    texts.append(
      Text(
        text: text, box: Box(x: x - before, y: y, width: width, height: size * 1.2), size: size,
        style: style, anchor: anchor))
  }

  /// With two digits that count, as `0.083`, `0.83`, `8.3`, `83`.
  static func figure(_ ratio: Double) -> String {
    if ratio >= 9.95 { return String(Int(ratio.rounded())) }
    if ratio >= 0.995 { return decimal(ratio, 1) }
    return decimal(ratio, ratio < 0.0995 ? 3 : 2)
  }

  private static func decimal(_ value: Double, _ digits: Int) -> String {
    let factor = pow(10, Double(digits))
    let whole = Int((value * factor).rounded())
    let fraction = String(whole % Int(factor))
    let zeros = String(repeating: "0", count: digits - fraction.count)
    return "\(whole / Int(factor)).\(zeros)\(fraction)"
  }

  static func tick(_ value: Double) -> String {
    if value >= 1 { return "\(Int(value.rounded()))" }
    return value < 0.095 ? decimal(value, 2) : decimal(value, 1)
  }
}

/// A logarithmic scale over the ratios that there are, with lines at 1, 2 and 5 of each power of ten.
struct ChartScale: Equatable {
  let ticks: [Double]
  private var low: Double { ticks.first ?? 0.5 }
  private var high: Double { ticks.last ?? 2 }

  private static let steps: [Double] = (-2...3).flatMap { power in
    [1, 2, 5].map { digit in
      power < 0 ? digit / pow(10, Double(-power)) : digit * pow(10, Double(power))
    }
  }

  init(_ ratios: [Double]) {
    let (least, most) = (min(ratios.min() ?? 1, 0.5), max(ratios.max() ?? 1, 2))
    let first = Self.steps.lastIndex { $0 <= least } ?? 0
    let last = Self.steps.firstIndex { $0 >= most } ?? Self.steps.count - 1
    ticks = Array(Self.steps[first...last])
  }

  /// From 0 to 1; what is off the scale is at its end.
  func share(of ratio: Double) -> Double {
    let share = (log(max(ratio, 1e-9)) - log(low)) / (log(high) - log(low))
    return min(max(share, 0), 1)
  }
}

import FSCore

/// A balance in words.
struct BalanceText {
  private let report: BalanceReport

  init(_ report: BalanceReport) { self.report = report }

  func lines(_ path: String) -> [String] {
    var lines = ["\(path): \(headline)"]
    if report.phase != "none", let plan = report.plan { lines.append("  moves \(plan)") }
    if report.phase != "none" || report.outcome != nil { lines.append("  " + figures) }
    return lines
  }

  private var headline: String {
    switch report.phase {
    case "running": return "a balance is running"
    case "stopping": return "a balance is about to stop"
    case "paused": return "a balance is paused; 'fsmount balance resume' goes on with it"
    default: break
    }
    switch report.outcome {
    case nil: return "no balance is running"
    case "completed": return "the balance is done"
    case "cancelled": return "the balance was cancelled"
    case "no_space": return "the balance is done, but \(report.reason ?? "some groups stayed")"
    default: return "the balance has failed: \(report.reason ?? "")"
    }
  }

  /// `3 of about 12 block groups moved, 1.20 GiB of 4.00 GiB`
  var figures: String {
    "\(report.done) of \(report.expected) block groups moved, "
      + "\(ByteCount.text(report.bytesMoved)) of \(ByteCount.text(report.bytesExpected))"
  }

  /// A bar, and the figures, in one line of at most `width` columns: where these are few, the bar
  /// becomes shorter, and then the figures.
  func progress(_ style: TextStyle, width: Int) -> String {
    let progress = min(max(report.progress ?? 0, 0), 1)
    func line(_ text: String, leastBar: Int) -> String? {
      let barWidth = min(30, width - text.count)
      guard barWidth >= leastBar else { return nil }
      return style.bar(UInt64(progress * 1000), of: 1000, width: barWidth) + text
    }
    // Rounded down: 100 is the end.
    let share = " \(Int(progress * 100))%"
    let groups = "\(share)  \(report.done) of \(report.expected) block groups"
    return line("\(share)  \(figures)", leastBar: 10) ?? line(groups, leastBar: 5)
      ?? line(share, leastBar: 1) ?? ""
  }
}

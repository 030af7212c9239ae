/// Durations as people read them.
enum DurationText {
  /// `12.3 ms`: three significant digits, in the largest unit that gives one before the point.
  static func text(nanoseconds: UInt64) -> String {
    let units: [(name: String, size: UInt64)] = [
      ("s", 1_000_000_000), ("ms", 1_000_000), ("µs", 1000),
    ]
    guard let unit = units.first(where: { nanoseconds >= $0.size }) else {
      return "\(nanoseconds) ns"
    }
    let whole = nanoseconds / unit.size
    let digits = whole >= 100 ? 0 : whole >= 10 ? 1 : 2
    return "\(fixed(Double(nanoseconds) / Double(unit.size), digits)) \(unit.name)"
  }

  /// `3 d 4 h`, `12 min 5 s`: the two largest units.
  static func text(seconds: Double) -> String {
    guard seconds.isFinite, seconds >= 0, seconds < 1e15 else { return "?" }
    var rest = UInt64(seconds)
    var parts: [String] = []
    for (name, size) in [("d", 86400), ("h", 3600), ("min", 60), ("s", 1)] as [(String, UInt64)] {
      if rest >= size || (size == 1 && parts.isEmpty) { parts.append("\(rest / size) \(name)") }
      rest %= size
      if parts.count == 2 { break }
    }
    return parts.joined(separator: " ")
  }

  /// A number with a fixed count of digits behind the point.
  static func fixed(_ value: Double, _ digits: Int) -> String {
    guard value.isFinite, abs(value) < 1e15 else { return "?" }
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let scaled = Int64((abs(value) * scale).rounded())
    let sign = value < 0 && scaled > 0 ? "-" : ""
    let whole = scaled / Int64(scale)
    guard digits > 0 else { return "\(sign)\(whole)" }
    let fraction = "\(scaled % Int64(scale))"
    return "\(sign)\(whole)." + String(repeating: "0", count: digits - fraction.count) + fraction
  }
}

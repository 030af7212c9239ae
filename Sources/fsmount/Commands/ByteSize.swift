import ArgumentParser

/// A number of bytes as people write it: `4096`, `64K`, `1.5G`, `16TiB`. Suffixes are powers of
/// 1024, in either case.
struct ByteSize: Hashable, Sendable, ExpressibleByArgument, CustomStringConvertible {
  let bytes: UInt64

  private static let suffixes: [(letter: Character, shift: UInt64)] = [
    ("k", 10), ("m", 20), ("g", 30), ("t", 40), ("p", 50), ("e", 60),
  ]

  init(bytes: UInt64) { self.bytes = bytes }

  init?(argument: String) {
    var text = Substring(argument.lowercased())
    if text.hasSuffix("ib") {
      text = text.dropLast(2)
      guard text.last.map({ last in Self.suffixes.contains { $0.letter == last } }) == true
      else { return nil }
    } else if text.hasSuffix("b") {
      text = text.dropLast()
    }

    var unit: UInt64 = 1
    if let suffix = Self.suffixes.first(where: { $0.letter == text.last }) {
      unit = 1 << suffix.shift
      text = text.dropLast()
    }

    guard let bytes = Self.product(text, unit) else { return nil }
    self.bytes = bytes
  }

  /// `text`, digits with at most one point, times `unit`, rounded down to a byte; nil when it is no
  /// such number or does not fit.
  private static func product(_ text: Substring, _ unit: UInt64) -> UInt64? {
    let parts = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
    guard let first = parts.first, let whole = number(first) else { return nil }

    var (bytes, overflow) = whole.multipliedReportingOverflow(by: unit)
    guard !overflow else { return nil }

    if parts.count == 2 {
      guard unit > 1, parts[1].count <= 6, let fraction = number(parts[1]) else { return nil }
      let scale = (0..<parts[1].count).reduce(UInt64(1)) { scale, _ in scale * 10 }
      let part = UInt128(fraction) * UInt128(unit) / UInt128(scale)
      (bytes, overflow) = bytes.addingReportingOverflow(UInt64(part))
      guard !overflow else { return nil }
    }
    return bytes
  }

  private static func number(_ text: Substring) -> UInt64? {
    guard !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    return UInt64(text)
  }

  /// With the largest unit that leaves a whole number.
  var description: String {
    for suffix in Self.suffixes.reversed() {
      let unit = UInt64(1) << suffix.shift
      if bytes >= unit, bytes % unit == 0 {
        return "\(bytes / unit)\(suffix.letter.uppercased())"
      }
    }
    return String(bytes)
  }

  static let allValueStrings: [String] = []
}

/// Numbers of bytes as people read them: in powers of 1024.
package enum ByteCount {
  private static let units = ["", "K", "M", "G", "T", "P", "E"]

  /// `12.00 MiB`: three significant digits at least, in the largest unit that gives one.
  package static func text(_ bytes: UInt64) -> String {
    guard bytes >= 1024 else { return "\(bytes) B" }
    var unit = 1
    while unit < units.count - 1, bytes >> (10 * UInt64(unit + 1)) > 0 { unit += 1 }
    let shift = 10 * UInt64(unit)
    let whole = bytes >> shift
    let rest = bytes & (1 << shift - 1)
    let hundredths = rest.multipliedFullWidth(by: 100)
    let fraction = hundredths.high << (64 - shift) | hundredths.low >> shift
    return "\(whole).\(fraction < 10 ? "0" : "")\(fraction) \(units[unit])iB"
  }

  /// `12 MiB` when that is exact, else the number of bytes.
  package static func exactText(_ bytes: UInt64) -> String {
    let unit = min(bytes.trailingZeroBitCount / 10, units.count - 1)
    guard bytes > 0, unit > 0 else { return "\(bytes)" }
    return "\(bytes >> (10 * UInt64(unit))) \(units[unit])iB"
  }
}

/// How long something took each time that it was done, in nanoseconds. A plain value: its owner
/// guards it.
package struct DurationFigures: Codable, Equatable, Sendable {
  package private(set) var count: UInt64 = 0
  package private(set) var last: UInt64 = 0
  package private(set) var longest: UInt64 = 0
  package private(set) var total: UInt64 = 0

  package init() {}

  package mutating func add(_ nanoseconds: UInt64) {
    count &+= 1
    last = nanoseconds
    longest = max(longest, nanoseconds)
    total &+= nanoseconds
  }

  package var mean: UInt64 { count > 0 ? total / count : 0 }
}

extension Duration {
  /// At least 0; durations of more than 584 years count as that.
  package var nanoseconds: UInt64 {
    let (seconds, attoseconds) = components
    guard seconds >= 0, attoseconds >= 0 else { return 0 }
    let (product, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
    let (sum, carry) = product.addingReportingOverflow(UInt64(attoseconds / 1_000_000_000))
    return overflow || carry ? .max : sum
  }
}

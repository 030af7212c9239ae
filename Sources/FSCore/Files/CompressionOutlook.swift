import Glibc

/// A guess whether bytes are worth compressing, from a few of them: for what plainly is not, like
/// what was compressed before, the attempt would take longer than writing it.
enum CompressionOutlook {
  /// Of each stretch of this length…
  private static let stretch = 256
  /// … so many bytes are looked at.
  private static let sampled = 16
  /// So few different bytes can always be said shorter.
  private static let fewValues = 64
  /// Bits that a byte tells at the least where compressing saves too little, on average.
  private static let dense = 6.4

  static func isGood(_ bytes: UnsafeRawBufferPointer) -> Bool {
    withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 256) { counts in
      counts.initialize(repeating: 0)
      var total = 0
      var repeated = 0
      var position = 0
      while position < bytes.count {
        let end = min(position + sampled, bytes.count)
        var last: UInt8?
        for index in position..<end {
          let byte = bytes[index]
          counts[Int(byte)] += 1
          if byte == last { repeated += 1 }
          last = byte
        }
        total += end - position
        position += stretch
      }
      guard total > 0 else { return false }
      if counts.count(where: { $0 > 0 }) < fewValues { return true }
      // Runs are short, whatever they are of.
      if repeated > total / 4 || repeats(bytes) { return true }
      return entropy(counts, total) < dense
    }
  }

  /// Bits a byte, as often as each value was seen.
  private static func entropy(_ counts: UnsafeMutableBufferPointer<UInt32>, _ total: Int) -> Double
  {
    var sum = 0.0
    for count in counts where count > 0 { sum += Double(count) * log2(Double(count)) }
    return log2(Double(total)) - sum / Double(total)
  }

  /// Whether the second half is the first once more, by the samples.
  private static func repeats(_ bytes: UnsafeRawBufferPointer) -> Bool {
    let half = bytes.count / 2 / stretch * stretch
    guard half > 0, let base = bytes.baseAddress else { return false }
    return stride(from: 0, to: half, by: stretch).allSatisfy {
      memcmp(base + $0, base + half + $0, sampled) == 0
    }
  }
}

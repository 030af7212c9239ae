/// Seeds of the tests: the same ones in every run, others by hand.
///
/// `TEST_SEED=7` in the environment takes others in the place of all fixed seeds, and lets the
/// tests that only sample their cases go through all of them.
package enum TestSeed {
  private static let chosen: UInt64? = currentEnvironment()["TEST_SEED"].flatMap { UInt64($0) }

  /// Whether somebody has the time for every case.
  package static let isThorough = chosen != nil

  /// The seed of this run for a fixed one. The same `TEST_SEED` leads back to it.
  package static func of(_ fixed: UInt64) -> UInt64 {
    guard let chosen else { return fixed }
    return chosen &* 1_000_003 &+ fixed
  }

  package static func of(_ fixed: [UInt64]) -> [UInt64] { fixed.map(of) }

  /// About `count` of the elements, evenly spread; all of them when there is time.
  package static func sample<Element>(_ elements: [Element], _ count: Int) -> [Element] {
    guard !isThorough, elements.count > count, count > 0 else { return elements }
    return (0..<count).map { elements[$0 * elements.count / count] }
  }
}

import Synchronization

/// What one open(2) of a file knows of lost data: each learns of every failure once by fsync(2),
/// and by close(2) too.
package final class FailureReader: Sendable {
  private let failures: Atomic<UInt64>

  /// - Parameter known: failures that are no business of the new open.
  init(known: UInt64) { failures = Atomic(known) }

  var known: UInt64 { failures.load(ordering: .acquiring) }

  func note(_ known: UInt64) { _ = failures.max(known, ordering: .acquiringAndReleasing) }
}

/// What a balance is at, for people and programs.
package struct BalanceStatus: Sendable, Equatable {
  package enum Phase: String, Sendable {
    /// There is none, or the last one has ended: see `outcome`.
    case none
    case running
    /// It was told to pause or to end, and leaves the group that it is at.
    case stopping
    /// It goes on with `resume`, or ends with `cancel`.
    case paused
  }

  /// How the last balance of this mount has ended.
  package enum Outcome: Sendable, Equatable {
    case completed
    case cancelled
    /// Groups were left as they were because there was no room to move what is in them.
    case noSpace(groups: Int)
    /// Why it ended before it was done; nothing is half moved.
    case failed(String)
  }

  package var phase = Phase.none
  /// What it is told to do; nil where there has been none.
  package var plan: BalancePlan?
  /// How many block groups were moved, or are to be: as many as matched when it began, or went on,
  /// less those that did not match any more when their turn came.
  package var expected = 0
  /// How many block groups were looked at.
  package var considered = 0
  /// How many were moved and given back.
  package var done = 0
  /// Bytes of extents that were moved, or are to be as far as is known: it grows when some come
  /// into a group that is emptied later.
  package var bytesExpected: UInt64 = 0
  /// Bytes of extents that were moved, each as often as it was.
  package var bytesMoved: UInt64 = 0
  /// How much is done, from 0 to 1. It never falls, and is 1 only at the end.
  package var progress = 0.0
  /// Nil while one runs or is paused, and where there has been none.
  package var outcome: Outcome?

  package init() {}

  mutating func take(_ tally: BalanceTally) {
    expected = tally.expected
    considered = tally.considered
    done = tally.done
    bytesExpected = tally.bytesExpected
    bytesMoved = tally.bytesMoved
    progress = tally.progress
  }
}

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
  /// How many block groups were to be moved when it began, or went on.
  package var expected = 0
  /// How many block groups were looked at.
  package var considered = 0
  /// How many were moved and given back.
  package var done = 0
  /// Bytes of extents in the groups that were to be moved, once each.
  package var bytesExpected: UInt64 = 0
  /// Bytes of extents that were moved.
  package var bytesMoved: UInt64 = 0
  /// Nil while one runs or is paused, and where there has been none.
  package var outcome: Outcome?

  package init() {}
}

/// How far a balance is. What moves may go to groups that are emptied later themselves, so the
/// bytes that will have moved at the end are not known before: `progress` counts groups, and of the
/// one that is being emptied the part that has left it.
///
/// 1. `done` ≤ `expected`, and `bytesMoved` ≤ `bytesExpected`.
/// 2. `progress` never falls, not by a pause either, and is 1 only after `end`.
struct BalanceTally {
  private(set) var expected = 0
  private(set) var considered = 0
  private(set) var done = 0
  private(set) var bytesExpected: UInt64 = 0
  private(set) var bytesMoved: UInt64 = 0
  private(set) var progress = 0.0

  /// A group that is being emptied.
  private struct Turn {
    /// Bytes of extents that it had, or more when more were moved.
    var used: UInt64
    var moved: UInt64 = 0
    /// Whether it was expected at the start.
    var isCounted: Bool
  }

  /// Of the groups whose turn is still to come, the bytes that are expected.
  private var waiting: [LogicalAddress: UInt64] = [:]
  private var turn: Turn?
  /// Since the balance has begun, or gone on: how many groups were expected, how many of them are
  /// behind it, and how far it was before.
  private var groups = 0
  private var passed = 0
  private var progressBefore = 0.0

  private static let mostBeforeEnd = 0.999

  /// The balance begins, or goes on, with these groups before it: what they have, in bytes.
  mutating func begin(_ groups: [LogicalAddress: UInt64]) {
    waiting = groups
    turn = nil
    considered = 0
    self.groups = groups.count
    passed = 0
    progressBefore = progress
    expected = done + groups.count
    bytesExpected = bytesMoved + groups.values.reduce(0, +)
  }

  /// A group's turn has come, whether it is to be moved or not.
  mutating func consider() { considered += 1 }

  /// A group is not to be moved, though it may have been expected.
  mutating func skip(_ group: LogicalAddress) {
    guard let bytes = waiting.removeValue(forKey: group) else { return }
    expected -= 1
    bytesExpected -= bytes
    passed += 1
    updateProgress()
  }

  /// A group is to be emptied, which has `used` bytes now.
  mutating func enter(_ group: LogicalAddress, used: UInt64) {
    let bytes = waiting.removeValue(forKey: group)
    if bytes == nil { expected += 1 }
    bytesExpected += used
    bytesExpected -= bytes ?? 0
    turn = Turn(used: used, isCounted: bytes != nil)
  }

  mutating func note(moved bytes: UInt64) {
    bytesMoved += bytes
    guard var turn else { return }
    turn.moved += bytes
    if turn.moved > turn.used {
      bytesExpected += turn.moved - turn.used
      turn.used = turn.moved
    }
    self.turn = turn
    updateProgress()
  }

  /// The group that was entered is gone, or is left as it is.
  mutating func leave(isDone: Bool) {
    guard let turn else { return }
    if isDone {
      done += 1
      // Not all that it had was moved: some is gone.
      bytesExpected -= turn.used - turn.moved
    }
    if turn.isCounted { passed += 1 }
    self.turn = nil
    updateProgress()
  }

  /// All has been done that could be.
  mutating func end() { progress = 1 }

  private mutating func updateProgress() {
    guard groups > 0 else { return }
    var behind = Double(passed)
    if let turn, turn.isCounted, turn.used > 0 { behind += Double(turn.moved) / Double(turn.used) }
    let now = progressBefore + (1 - progressBefore) * min(behind / Double(groups), 1)
    progress = max(progress, min(now, Self.mostBeforeEnd))
  }
}

import Synchronization

/// What block groups' free space takes in memory, and when it is time to let go of some. No lock.
///
/// 1. `share.used` is the sum of what the groups have charged.
/// 2. Where not enough can be let go of, it is not tried again before more has been charged, or some
///    commits have passed: looking at all groups has to be worth it.
/// 3. Nothing is let go of while a thread loads group after group because it needs more space than
///    is allocatable: it would never come to an end.
package final class FreeSpaceMemory: Sendable {
  package let share: MemoryShare
  private let commits = Atomic<UInt64>(1)
  private let isBusy = Atomic<Bool>(false)
  /// What was left the last time; 0 when that was within the share.
  private let left = Atomic<Int>(0)
  /// How many threads look for space.
  private let searches = Atomic<Int>(0)
  private let lastLook = Atomic<UInt64>(0)
  /// How many groups were let go of.
  private let count = Atomic<Int>(0)

  private static let commitsBetweenLooks: UInt64 = 16

  init(share: MemoryShare = MemoryShare(limit: .max)) { self.share = share }

  /// Counts commits: what was used since the last one is not let go of.
  var now: UInt64 { commits.load(ordering: .relaxed) }

  func noteCommit() { commits.add(1, ordering: .relaxed) }

  /// To be called in pairs around a search for space that loads groups.
  package func beginSearch() { searches.add(1, ordering: .relaxed) }
  package func endSearch() { searches.subtract(1, ordering: .relaxed) }

  package var lettingGoCount: Int { count.load(ordering: .relaxed) }

  /// How little is to be left, in bytes, if it is time to let go of something and no other thread
  /// does; `end` must follow.
  func begin() -> Int? {
    let used = share.used
    guard used > share.limit, searches.load(ordering: .relaxed) == 0 else { return nil }
    let isDue =
      used > left.load(ordering: .relaxed) + share.limit / 8
      || now >= lastLook.load(ordering: .relaxed) + Self.commitsBetweenLooks
    guard isDue, !isBusy.exchange(true, ordering: .acquiring) else { return nil }
    lastLook.store(now, ordering: .relaxed)
    return share.limit - share.limit / 8
  }

  func end(lettingGo groups: Int) {
    count.add(groups, ordering: .relaxed)
    left.store(share.used > share.limit ? share.used : 0, ordering: .relaxed)
    isBusy.store(false, ordering: .releasing)
  }
}

/// The bytes of all block groups of one class, by what they are. Superblock copies are left out.
///
/// 1. `length == used + free + unloaded + pinned + inFlight + unusable`.
/// 2. Whoever promises or reserves looks at `free` under the same hold of the lock.
struct SpaceCounters: Sendable, Equatable {
  var length: UInt64 = 0
  /// Extents that the extent tree has items for.
  var used: UInt64 = 0
  /// What can be allocated now: free in a loaded group.
  var free: UInt64 = 0
  /// Free in groups that are not loaded yet.
  var unloaded: UInt64 = 0
  /// Freed, and allocatable after the next commit.
  var pinned: UInt64 = 0
  /// Allocated, without an item in the extent tree yet.
  var inFlight: UInt64 = 0
  /// Free in groups whose free space could not be found out.
  var unusable: UInt64 = 0

  /// Of `free`: kept for data that was accepted and has no extent yet.
  var reserved: UInt64 = 0
  /// Of `free`: kept for the tree blocks of open handles.
  var promised: UInt64 = 0
  /// How many threads wait for `promised` to become less.
  var waiters = 0
}

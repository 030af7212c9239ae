/// What keeps the block groups' free space on disk, so that a mount need not find it in the extent
/// tree: `CacheFiles` (v1), or nothing (`NoRecord`).
///
/// It is the last participant of the commit: whenever it is asked to settle, the extent tree is
/// what this commit leaves, unless the record changes it.
package protocol FreeSpaceRecord: CommitParticipant, FreeSpaceLoader {
  /// Whether the record is to be written anew though nothing else may change: the next commit
  /// must not be left out. Asked once, when the volume has been put together.
  var wantsCommit: Bool { get }
}

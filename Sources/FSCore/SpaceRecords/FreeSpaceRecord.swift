/// What keeps the block groups' free space on disk, so that a mount need not find it in the extent
/// tree: `CacheFiles` (v1), `FreeSpaceTree` (v2), or nothing (`NoRecord`).
///
/// It is the last participant of the commit: whenever it is asked to settle, the extent tree is
/// what this commit leaves, unless the record changes it.
package protocol FreeSpaceRecord: CommitParticipant, FreeSpaceLoader {
  /// Whether the record is to be written anew though nothing else may change: the next commit
  /// must not be left out. Asked once, when the volume has been put together.
  var wantsCommit: Bool { get }

  /// Whether that took more than the commits so far: each does a part of it. Asked after each of them.
  var wantsMoreCommits: Bool { get }

  /// What this mount's commits have done about it.
  var statistics: RecordStatistics { get }

  /// What files of the record stand in which block groups, by the start of each.
  func holdings() throws(FilesystemError) -> [LogicalAddress: RecordHolding]

  /// How many items a transaction has to reserve so that the record can forget the group.
  func itemsToForget(_ group: BlockGroup) -> Int

  /// Takes a block group out of the record for good, before the group's item and its chunk go.
  /// There is no extent in the group. From here on nothing of it is in the record, whatever else
  /// the record is told of the group.
  ///
  /// Called with no lock of rank `freeSpaceInode` or above held, and with a handle that is whole;
  /// it is whole afterwards. An error that leaves the handle whole leaves the group in the record:
  /// the group can stay, or be tried again. Any other has to abort the volume.
  func forget(
    _ group: BlockGroup, in handle: borrowing TransactionHandle
  ) throws(FilesystemError)
}

/// What a record of free space has in a block group for itself.
package struct RecordHolding: Sendable {
  package var bytes: UInt64 = 0
  /// The groups that it is about; each may be there more than once.
  package var owners: [BlockGroup] = []
  /// The inodes of the files, which are in the root tree.
  package var files: Set<ObjectID> = []
}

extension FreeSpaceRecord {
  package var wantsMoreCommits: Bool { false }

  /// Nothing stands in files.
  package func holdings() throws(FilesystemError) -> [LogicalAddress: RecordHolding] { [:] }
}

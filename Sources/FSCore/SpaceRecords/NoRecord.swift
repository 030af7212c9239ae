import Logging

/// No record of free space: every block group is found in the extent tree. With `-o nospace_cache`
/// what the image has is deleted.
package final class NoRecord: FreeSpaceRecord {
  /// What is still to be deleted; nil when the image is to stay as it is.
  private let oldCaches: OldCacheFiles?
  private let oldTree: OldFreeSpaceTree?
  private let root: Tree
  private let references: DelayedReferences
  private let log: Logger
  package let wantsCommit: Bool

  /// - Parameter deletesOthers: false leaves an image alone whose owner has no record.
  package init(
    space: Space, trees: Trees, references: DelayedReferences, superblock: Superblock,
    deletesOthers: Bool, log: Logger
  ) {
    root = trees.root
    self.references = references
    self.log = log
    oldCaches = deletesOthers ? OldCacheFiles(root: trees.root) : nil
    oldTree =
      deletesOthers ? OldFreeSpaceTree(superblock, space: space, trees: trees, log: log) : nil
    wantsCommit = deletesOthers && (superblock.cacheGeneration != 0 || oldTree != nil)
  }

  package func freeSpace(of group: BlockGroup) -> RecordedFreeSpace { .unknown }

  package func distrust(_ group: BlockGroup) {}

  /// The extent tree is always right.
  package func changeInRecord(of group: BlockGroup) -> UInt64? { group.recordedChange }

  package var statistics: RecordStatistics { RecordStatistics(kind: "none") }

  package func itemsToForget(_ group: BlockGroup) -> Int { 4 }

  /// There may be a cache that its owner does not want to be used.
  package func forget(
    _ group: BlockGroup, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    precondition(!handle.isHalfDone && group.used == 0)
    try FreeSpaceInode.removeCache(of: group.start, in: root, references, in: handle)
    handle.noteWhole()
  }

  package func prepare(in handle: borrowing TransactionHandle) throws(FilesystemError) {
    try oldTree?.remove(in: handle)
    try oldCaches?.removeAll(references, log, in: handle)
    try references.run(in: handle)
  }

  package func settle(
    in handle: borrowing TransactionHandle, _ context: borrowing CommitContext, round: Int
  ) -> Bool { false }

  package func seal(_ superblock: inout Superblock, _ context: borrowing CommitContext) {
    oldTree?.seal(&superblock)
    superblock.cacheGeneration = 0
  }
}

import Logging

/// No record of free space: every block group is found in the extent tree. With `-o nospace_cache`
/// what the image has is deleted.
package final class NoRecord: FreeSpaceRecord {
  /// What is still to be deleted; nil when the image is to stay as it is.
  private let oldCaches: OldCacheFiles?
  private let oldTree: OldFreeSpaceTree?
  private let references: DelayedReferences
  private let log: Logger
  package let wantsCommit: Bool

  /// - Parameter deletesOthers: false leaves an image alone whose owner has no record.
  package init(
    trees: Trees, references: DelayedReferences, superblock: Superblock, deletesOthers: Bool,
    log: Logger
  ) {
    self.references = references
    self.log = log
    oldCaches = deletesOthers ? OldCacheFiles(root: trees.root) : nil
    oldTree = deletesOthers ? OldFreeSpaceTree(superblock, trees: trees, log: log) : nil
    wantsCommit = deletesOthers && (superblock.cacheGeneration != 0 || oldTree != nil)
  }

  package func freeSpace(of group: BlockGroup) -> RecordedFreeSpace { .unknown }

  package func distrust(_ group: BlockGroup) {}

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

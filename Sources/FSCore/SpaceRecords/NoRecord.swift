import Logging

/// No record of free space: every block group is found in the extent tree. With `-o nospace_cache`
/// the v1 caches that an image has are deleted.
package final class NoRecord: FreeSpaceRecord {
  /// What is still to be deleted; nil when the image is to stay as it is.
  private let old: OldCacheFiles?
  private let references: DelayedReferences
  private let root: Tree
  private let log: Logger

  /// - Parameter deletesCaches: false leaves an image alone whose owner has no caches.
  package init(root: Tree, references: DelayedReferences, deletesCaches: Bool, log: Logger) {
    self.root = root
    self.references = references
    self.log = log
    old = deletesCaches ? OldCacheFiles(root: root) : nil
  }

  package var wantsCommit: Bool { false }

  package func freeSpace(of group: BlockGroup) -> RecordedFreeSpace { .unknown }

  package func distrust(_ group: BlockGroup) {}

  package func prepare(in handle: borrowing TransactionHandle) throws(FilesystemError) {
    guard let old, old.isUnfinished else { return }
    let hadSome = try old.removeNext(references, in: handle)
    if hadSome, !old.isUnfinished { log.info("old free space caches are deleted") }
    try references.run(in: handle)
  }

  package func settle(
    in handle: borrowing TransactionHandle, _ context: borrowing CommitContext, round: Int
  ) -> Bool { false }

  package func seal(_ superblock: inout Superblock, _ context: borrowing CommitContext) {
    // Any old number but 0 makes everybody ignore all caches.
    superblock.cacheGeneration =
      old?.isUnfinished == true ? context.generation.rawValue - 1 : 0
  }
}

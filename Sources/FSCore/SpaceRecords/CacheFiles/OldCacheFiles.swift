import Logging

/// The v1 caches that stood in the image when it was mounted, gone through a part at a time: one a
/// commit, or between which references are applied. Used by the thread that commits.
package final class OldCacheFiles: Sendable {
  /// How many caches are in a part. Until all have been disowned, no superblock vouches for any.
  /// As many are made anew in a commit, where all are.
  static let batchSize = 512

  private let root: Tree
  /// Where the next part begins; nil when all is done.
  private let position = Guarded<LogicalAddress?>(0, rank: .leaf)

  package init(root: Tree) { self.root = root }

  package var isUnfinished: Bool { position.withLock { $0 != nil } }

  /// Calls `body` with the groups of the next part. Says whether the image has any caches.
  func visitNext(
    _ body: (LogicalAddress) throws(FilesystemError) -> Void
  ) throws(FilesystemError) -> Bool {
    guard let start = position.withLock({ $0 }) else { return false }
    var groups: [LogicalAddress] = []
    let last = Key(.freeSpace, .untyped, .max)
    try root.forEach(from: FreeSpaceHeader.key(of: start), through: last) {
      key, _ throws(FilesystemError) in
      groups.append(LogicalAddress(key.offset))
      return groups.count < Self.batchSize
    }
    for address in groups { try body(address) }

    let next: LogicalAddress? =
      if groups.count == Self.batchSize, let last = groups.last, last.rawValue < .max {
        last + 1
      } else {
        nil
      }
    position.withLock { $0 = next }
    return start != 0 || !groups.isEmpty
  }

  /// Deletes all that are left: files, inodes, headers. In one transaction, so that never two
  /// records stand in an image.
  func removeAll(
    _ references: DelayedReferences, _ log: Logger, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    while isUnfinished {
      let hadSome = try visitNext { address throws(FilesystemError) in
        try FreeSpaceInode.removeCache(of: address, in: root, references, in: handle)
        handle.noteWhole()
      }
      if hadSome, !isUnfinished { log.info("old free space caches are deleted") }
      try references.run(in: handle)
    }
  }
}

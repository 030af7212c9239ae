import Logging

/// The free space tree of an image that is to have another record. Used by the thread that commits.
package final class OldFreeSpaceTree: Sendable {
  private enum Fate { case present, removed, kept }

  private let space: Space
  private let trees: Trees
  private let log: Logger
  private let fate = Guarded<Fate>(.present, rank: .leaf)

  /// Nil when the image has none.
  package init?(_ superblock: Superblock, space: Space, trees: Trees, log: Logger) {
    guard superblock.readOnlyFeatures.contains(.freeSpaceTree) else { return nil }
    self.space = space
    self.trees = trees
    self.log = log
  }

  package var isPresent: Bool { fate.withLock { $0 == .present } }

  /// Removes the tree, its root item and all of its blocks, whether they can be read or not. Where
  /// the extent tree does not say which they are the tree stays where it is, but nobody is to
  /// believe it any more.
  package func remove(in handle: borrowing TransactionHandle) throws(FilesystemError) {
    guard isPresent else { return }
    do throws(FilesystemError) {
      let blocks = try TreeBlockScan(space: space, trees: trees).blocks(of: .freeSpace)
      try trees.remove(.freeSpace, blocks: blocks, in: handle)
    } catch {
      if handle.isHalfDone { throw error }
      log.error("the free space tree is left where it is, not valid any more: \(error)")
      return fate.withLock { $0 = .kept }
    }
    log.info("the free space tree is removed")
    fate.withLock { $0 = .removed }
  }

  package func seal(_ superblock: inout Superblock) {
    switch fate.withLock({ $0 }) {
    case .present: break
    case .removed:
      superblock.readOnlyFeatures.subtract([.freeSpaceTree, .freeSpaceTreeValid])
    case .kept: superblock.readOnlyFeatures.remove(.freeSpaceTreeValid)
    }
  }
}

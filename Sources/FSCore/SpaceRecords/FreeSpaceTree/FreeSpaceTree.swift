import FreeSpace
import Logging

/// The record of free space in its second form (v2): one tree with the free ranges of all block
/// groups. Lock ranks: `state` is `freeSpaceInode`, `doubts` a `leaf`.
///
/// 1. For each group the tree's items and the group's `SpaceChanges` together are exactly what no
///    extent item covers, superblock copies included: what is pinned or in flight is free here.
///    `state` is held while changes move from the group into the tree, so that whoever holds it
///    sees each group whole.
/// 2. When a commit's superblock says VALID, no group of that commit has changes left, and each has
///    its items; but for groups in which nobody believes yet, whose items were wrong before.
/// 3. A group's items are changed only after all of them have been read and found right, once a
///    mount; else they are written anew, from the extent tree.
/// 4. The extent tree is read for that only inside the critical section, when no reference is
///    pending that another thread could apply meanwhile.
/// 5. What cannot be read of the tree costs the tree: it is emptied, and written anew.
/// 6. Nothing here joins a transaction: all is done through the handle that is passed.
///
/// It comes to an end: a change of a group changes few leaves, each is copied once a transaction,
/// and its copy is a change of a metadata group, whose leaves are soon all copied.
package final class FreeSpaceTree: FreeSpaceRecord {
  struct State {
    /// Nil until the first commit has made it.
    var tree: Tree?
    /// Nothing of what stands there is believed.
    var isToBeRebuilt: Bool
    /// Groups of which all items are right.
    var verified: Set<LogicalAddress> = []
  }

  let space: Space
  let trees: Trees
  let references: DelayedReferences
  let log: Logger
  /// The caches that the image had before; nil when it had none.
  let oldCaches: OldCacheFiles?
  package let wantsCommit: Bool

  /// What is known of groups beside what is in the tree.
  struct Doubts {
    /// Groups whose items are to be written anew.
    var distrusted: [LogicalAddress: BlockGroup] = [:]
    /// Groups that have gone. Addresses are not used twice.
    var forgotten: Set<LogicalAddress> = []
  }

  let state: Guarded<State>
  let doubts = Guarded(Doubts(), rank: .leaf)

  /// - Parameter clear: believe nothing that stands in the tree (`clear_cache`).
  package init(
    space: Space, trees: Trees, references: DelayedReferences, superblock: Superblock,
    clear: Bool, log: Logger
  ) throws(FilesystemError) {
    self.space = space
    self.trees = trees
    self.references = references
    self.log = log
    let features = superblock.readOnlyFeatures
    let hasTree = features.contains(.freeSpaceTree)
    // One that stands there without the flag is nobody's; it is emptied and used.
    let tree = try trees.optional(.freeSpace)
    let isBelieved =
      hasTree && tree != nil && features.contains(.freeSpaceTreeValid) && !clear
    if !isBelieved {
      let reason = !hasTree ? "made" : clear ? "made anew" : "made anew, as it is not valid"
      log.info("the free space tree is \(reason)")
    }
    let mayHaveCaches = !hasTree || superblock.cacheGeneration != 0
    oldCaches = mayHaveCaches ? OldCacheFiles(root: trees.root) : nil
    wantsCommit = !isBelieved || mayHaveCaches
    state = Guarded(State(tree: tree, isToBeRebuilt: !isBelieved), rank: .freeSpaceInode)
  }

  // Loading.

  package func freeSpace(of group: BlockGroup) throws(FilesystemError) -> RecordedFreeSpace {
    guard !isDistrusted(group) else { return .unknown }
    return state.withLock { state in
      guard let tree = state.tree, !state.isToBeRebuilt else { return .unknown }
      do throws(FilesystemError) {
        let (index, _) = try FreeSpaceTreeGroup(tree, group).read()
        state.verified.insert(group.start)
        return .found(index)
      } catch {
        warn(group, error)
        return .wrong
      }
    }
  }

  package func distrust(_ group: BlockGroup) {
    let isForgotten = doubts.withLock { doubts in
      if doubts.forgotten.contains(group.start) { return true }
      doubts.distrusted[group.start] = group
      return false
    }
    if !isForgotten { space.groups.listAsDirty(group) }
  }

  func isDistrusted(_ group: BlockGroup) -> Bool {
    doubts.withLock { $0.distrusted[group.start] != nil }
  }

  func warn(_ group: BlockGroup, _ error: FilesystemError) {
    log.warning("block group \(group.start): its part of the free space tree is rebuilt: \(error)")
  }
}

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
///    mount; else they are written anew, from memory where the group is loaded, or from the extent
///    tree.
/// 4. The extent tree is read for that only inside the critical section, when no reference is
///    pending that another thread could apply meanwhile.
/// 5. What cannot be read of the tree costs the tree, and never the mount: its blocks are found by
///    their references, and the tree is made anew. A read that fails while the device may still
///    come back costs nothing: the group is found in the extent tree, and its items are kept.
/// 6. Nothing here joins a transaction: all is done through the handle that is passed.
/// 7. An error between two changes of items costs the group's items, which are written anew in the
///    same commit. An error that leaves a change half done aborts the volume.
/// 8. Where the extent tree cannot be read either, the commit's superblock does not say VALID, and
///    the next commit tries again; but with a block group tree, without VALID no Linux would mount
///    the image, so that the volume is aborted.
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
    /// The transaction in which the tree could not be made anew: not tried again within it.
    var refusedGeneration: Generation?
  }

  let space: Space
  let trees: Trees
  let references: DelayedReferences
  let log: Logger
  /// The caches that the image had before; nil when it had none.
  let oldCaches: OldCacheFiles?
  package let wantsCommit: Bool
  /// Whether Linux refuses the image unless the tree is valid.
  let needsValidity: Bool

  /// Facts about groups that are not in the tree.
  struct Doubts {
    /// Groups whose items are to be written anew.
    var distrusted: [LogicalAddress: BlockGroup] = [:]
    /// Groups that have gone. Addresses are not used twice.
    var forgotten: Set<LogicalAddress> = []
  }

  let state: Guarded<State>
  let doubts = Guarded(Doubts(), rank: .leaf)
  let counts = RecordCounts(kind: "v2")
  package var statistics: RecordStatistics { counts.statistics }

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
    let tree: Tree?
    var unreadable: FilesystemError?
    do throws(FilesystemError) {
      tree = try trees.optional(.freeSpace)
    } catch {
      tree = nil
      unreadable = error
    }
    let isBelieved =
      hasTree && tree != nil && features.contains(.freeSpaceTreeValid) && !clear
    if let unreadable {
      log.warning("the free space tree is made anew, as it cannot be read: \(unreadable)")
    } else if !isBelieved {
      let reason = !hasTree ? "made" : clear ? "made anew" : "made anew, as it is not valid"
      log.info("the free space tree is \(reason)")
    }
    needsValidity = features.contains(.blockGroupTree)
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
      let items = FreeSpaceTreeGroup(tree, group)
      do throws(FilesystemError) {
        let (index, _) = try items.read()
        state.verified.insert(group.start)
        return .found(index)
      } catch .device {
        // It may be there the next time: the commit that changes the group looks again.
        return .unknown
      } catch {
        if items.isReadable {
          warn(group, error)
          return .wrong
        }
        disbelieve(&state, error)
        return .unknown
      }
    }
  }

  /// From here on nothing is believed that stands in the tree, and the next commit makes it anew.
  func disbelieve(_ state: inout State, _ error: FilesystemError) {
    if !state.isToBeRebuilt { log.warning("the free space tree is made anew: \(error)") }
    state.isToBeRebuilt = true
  }

  package func distrust(_ group: BlockGroup) {
    let isForgotten = doubts.withLock { doubts in
      if doubts.forgotten.contains(group.start) { return true }
      doubts.distrusted[group.start] = group
      return false
    }
    if !isForgotten { space.groups.listAsDirty(group) }
  }

  package func changeInRecord(of group: BlockGroup) -> UInt64? {
    guard !isDistrusted(group) else { return nil }
    return state.withLock { state in
      guard state.tree != nil, !state.isToBeRebuilt, state.verified.contains(group.start) else {
        return nil
      }
      return group.recordedChange
    }
  }

  func isDistrusted(_ group: BlockGroup) -> Bool {
    doubts.withLock { $0.distrusted[group.start] != nil }
  }

  func warn(_ group: BlockGroup, _ error: FilesystemError) {
    log.warning("block group \(group.start): its part of the free space tree is rebuilt: \(error)")
  }
}

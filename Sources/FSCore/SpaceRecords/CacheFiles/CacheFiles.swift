import FreeSpace
import Logging

/// The record of free space in its first form (v1): a hidden file for each block group. Set up and
/// written at every commit, disowned where it cannot be. Lock rank: `freeSpaceInode`; `caches` is a
/// `leaf`.
///
/// 1. When a commit's superblock vouches for the caches, then every cache on the device whose
///    inode's generation is not 0 describes exactly what that commit's extent tree leaves free.
/// 2. A cache is written only into an extent that was allocated in the same transaction, so the
///    last commit's caches stay whole until this commit is durable.
/// 3. From `setUp` until all of a cache is written the inode's generation is 0.
/// 4. IO to a cache is done, and completed, on the thread that commits. It never passes through
///    worker threads: one of them may wait to join, and so for the very commit that waits here.
/// 5. A cache that fails costs that cache only, and a read of items that fails those that are written
///    together: their state is `error`, their inodes' generation 0, the reason is in the log, and the
///    commit goes on. If even the generation cannot be set, all
///    caches are worth nothing until the next commit. Only a change that was half made aborts.
/// 6. Nothing here joins a transaction: all is done through the handle that is passed.
///
///     dirty group ─ setUp ─→ setup ─ writeOut ─→ written ─ changed again ─→ setup
///          │                   │ data in flight: left, generation 0
///          └ no space ─→ error └ failure ─→ error
package final class CacheFiles: FreeSpaceRecord {
  struct State {
    /// The transaction in which there was no space for a cache: no more are set up in it.
    var refusedGeneration: Generation?
    /// Whether that was the case at the last attempt: it is told when it begins and ends.
    var isShortOfSpace = false
    /// Which group's cache stands in which inode, of those that this mount has set up.
    var owners: [ObjectID: LogicalAddress] = [:]
    /// Groups that could have a cache and have no exact one, as far as is known: those that were
    /// listed as changed, and those that earlier commits have left.
    var pending: [LogicalAddress: BlockGroup] = [:]
    /// Groups whose caches are to be made at mount, by ascending address: the next commits take so many
    /// of them each that no transaction becomes too large.
    var unwritten: ArraySlice<BlockGroup> = []
    /// Whether old caches could not be disowned when that was tried last.
    var isHeldUp = false
  }

  /// What is remembered of each group's cache; nothing of those that are as the mount found them.
  struct Caches {
    var byGroup: [LogicalAddress: GroupCache] = [:]
    /// The transaction whose superblock vouches for no cache, since one could not be disowned.
    var unvouched: Generation?
    /// Groups that have gone. Addresses are not used twice.
    var forgotten: Set<LogicalAddress> = []
    var counts = CacheFileCounts()
  }

  let space: Space
  let trees: Trees
  let references: DelayedReferences
  let device: LogicalDevice
  let objectIDs: RootObjectIDs
  let loader: CacheLoader
  let log: Logger
  /// Caches in which nobody may believe, and that must be disowned before a superblock vouches for
  /// all again.
  let old: OldCacheFiles?
  /// The free space tree that the image had before; nil when it had none.
  let oldTree: OldFreeSpaceTree?
  package let wantsCommit: Bool
  package var wantsMoreCommits: Bool {
    let isUnfinished = old?.isUnfinished == true
    return wantsCommit
      && state.withLock { !$0.unwritten.isEmpty || (isUnfinished && !$0.isHeldUp) }
  }

  let state = Guarded(State(), rank: .freeSpaceInode)
  let caches = Guarded(Caches(), rank: .leaf)
  /// Test hooks.
  package let hooks = Guarded(CacheFilesHooks(), rank: .leaf)
  let outcomes = RecordCounts(kind: "v1")
  package var statistics: RecordStatistics { outcomes.statistics }

  /// - Parameter clear: believe none of the caches that are there (`clear_cache`), and write all
  ///   anew.
  package init(
    space: Space, trees: Trees, references: DelayedReferences, device: LogicalDevice,
    geometry: Geometry, superblock: Superblock, clear: Bool, log: Logger
  ) throws(FilesystemError) {
    self.space = space
    self.trees = trees
    self.references = references
    self.device = device
    self.log = log
    objectIDs = try RootObjectIDs(root: trees.root)

    let isVouchedFor = superblock.cacheGeneration == superblock.generation.rawValue
    let isTrusted = isVouchedFor && !clear
    old = isTrusted ? nil : OldCacheFiles(root: trees.root)
    loader = CacheLoader(
      root: trees.root, device: device, geometry: geometry,
      superGeneration: superblock.generation, isTrusted: isTrusted, log: log)
    oldTree = OldFreeSpaceTree(superblock, space: space, trees: trees, log: log)
    // An image without caches that is to have them gets all before anything else happens.
    wantsCommit = clear || oldTree != nil || superblock.cacheGeneration == 0
    if wantsCommit {
      state.withLock { $0.unwritten = space.groups.all.filter(\.isCacheable)[...] }
    }
  }

  // What is known of a group's cache.

  /// The cache's state, as `cache-writeout.md` names it.
  package func state(of group: BlockGroup) -> DiskCacheState { cache(of: group).state }

  /// Whether the cache on the device, or the one that the running commit has written, is exact.
  package func isExact(_ group: BlockGroup) -> Bool {
    let moment = group.moment
    return caches.withLock {
      $0.byGroup[group.start]?.isExact(moment) ?? GroupCache().isExact(moment)
    }
  }

  func cache(of group: BlockGroup) -> GroupCache {
    caches.withLock { $0.byGroup[group.start] ?? GroupCache() }
  }

  func change(_ group: BlockGroup, _ body: (inout GroupCache) -> Void) {
    caches.withLock { body(&$0.byGroup[group.start, default: GroupCache()]) }
  }

  /// Reports a cache that is given up in this transaction. Its inode's generation must be made
  /// 0 where it is not.
  func fail(
    _ group: BlockGroup, _ obstacle: CacheObstacle, _ reason: String, _ generation: Generation
  ) {
    outcomes.note(obstacle)
    log.warning("block group \(group.start): its free space cache is not written: \(reason)")
    change(group) { $0.didFail(generation) }
  }

  /// What was done since the mount.
  package var counts: CacheFileCounts { caches.withLock { $0.counts } }

  // Loading.

  package func freeSpace(of group: BlockGroup) throws(FilesystemError) -> RecordedFreeSpace {
    let cache = cache(of: group)
    guard !cache.isOurs || cache.isReadable else { return .unknown }
    let found = try loader.freeSpace(of: group, generation: cache.writtenGeneration)
    if case .found = found { change(group) { $0.didRead() } }
    return found
  }

  package func changeInRecord(of group: BlockGroup) -> UInt64? {
    cache(of: group).readableChange
  }

  package func distrust(_ group: BlockGroup) {
    guard group.isCacheable else { return }
    let isForgotten = caches.withLock { caches in
      if caches.forgotten.contains(group.start) { return true }
      caches.byGroup[group.start, default: GroupCache()].didLoseTrust()
      return false
    }
    if !isForgotten { space.groups.listAsDirty(group) }
  }
}

extension BlockGroup {
  /// Whether groups of this length have a free space cache on the device.
  package var isCacheable: Bool {
    length >= Format.smallestCachedGroup
      && CacheLayout.pageCount(forGroupLength: length) <= UInt64(CacheLayout.maximumPageCount)
  }
}

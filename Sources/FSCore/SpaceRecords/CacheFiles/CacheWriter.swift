import FreeSpace
import Logging

/// Keeps the free space caches on the device: sets them up, writes them at every commit, disowns
/// or deletes them. Lock rank: `freeSpaceInode`.
///
/// 1. When a commit's superblock vouches for the caches, then every cache on the device whose
///    inode's generation is not 0 describes exactly what that commit's extent tree leaves free.
/// 2. A cache is written only into an extent that was allocated in the same transaction, so the
///    last commit's caches stay whole until this commit is durable.
/// 3. From `setUp` until all of a cache is written the inode's generation is 0.
/// 4. IO to a cache is done, and completed, on the thread that commits. It never passes through
///    worker threads: one of them may wait to join, and so for the very commit that waits here.
/// 5. A cache that fails costs that cache only: its state is `error`, its inode's generation 0,
///    the reason is in the log, and the commit goes on.
/// 6. Nothing here joins a transaction: all is done through the handle that is passed.
///
///     dirty group ─ setUp ─→ setup ─ writeOut ─→ written ─ changed again ─→ setup
///          │                   │ data in flight: left, generation 0
///          └ no space ─→ error └ failure ─→ error
package final class CacheWriter: Sendable {
  struct State {
    /// The transaction in which there was no space for a cache: no more are set up in it.
    var refusedGeneration: Generation?
    /// Which group's cache stands in which inode, of those that this mount has set up.
    var owners: [ObjectID: LogicalAddress] = [:]
    /// Where `clearOld` goes on; nil when it is done.
    var clearFrom: LogicalAddress?
  }

  let space: SpaceManager
  let trees: Trees
  let references: DelayedReferences
  let device: LogicalDevice
  let geometry: Geometry
  let mode: CacheMode
  let objectIDs: RootObjectIDs
  let log: Logger

  let state: Guarded<State>
  /// Test hooks.
  package let hooks = Guarded(CacheWriterHooks(), rank: .leaf)

  /// Plugs the loader and the count of pending references into `space`.
  ///
  /// - Parameter clear: believe none of the caches that are there (`clear_cache`).
  package init(
    space: SpaceManager, trees: Trees, references: DelayedReferences, device: LogicalDevice,
    geometry: Geometry, superblock: Superblock, mode: CacheMode, clear: Bool, log: Logger
  ) throws(FilesystemError) {
    self.space = space
    self.trees = trees
    self.references = references
    self.device = device
    self.geometry = geometry
    self.mode = mode
    self.log = log
    objectIDs = try RootObjectIDs(root: trees.root)

    let isVouchedFor = superblock.cacheGeneration == superblock.generation.rawValue
    let isTrusted = isVouchedFor && !clear
    // What nobody vouches for must be disowned before a superblock vouches for all again.
    state = Guarded(
      State(clearFrom: isTrusted && mode == .kept ? nil : 0), rank: .freeSpaceInode)

    if mode == .kept {
      space.cacheLoader = CacheLoader(
        root: trees.root, device: device, geometry: geometry,
        superGeneration: superblock.generation, isTrusted: isTrusted, log: log)
    }
    space.pendingReferences = { [weak references] in references?.pendingCount ?? 0 }
  }

  /// What the superblock of `generation` says. Taken inside the critical section.
  package func cacheGeneration(at generation: Generation) -> UInt64 {
    // Any old number but 0 makes everybody ignore all caches.
    let isClearing = state.withLock { $0.clearFrom != nil }
    if isClearing { return generation.rawValue - 1 }
    return mode == .kept ? generation.rawValue : 0
  }

  /// Reports a cache that is given up in this transaction. Its inode's generation must be made
  /// 0 where it is not.
  func fail(_ group: BlockGroup, _ reason: String, _ generation: Generation) {
    log.warning("block group \(group.start): its free space cache is not written: \(reason)")
    group.didFailCache(generation)
  }
}

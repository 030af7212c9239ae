import FreeSpace
import Logging

/// What a commit does with the caches.
extension CacheFiles {
  /// After so many rounds what is still not written is disowned instead.
  private static let writingRounds = 24

  /// Loads the changed groups, sets their caches up, and where there are many writes them too, so
  /// that only what changes again is left for `settle`.
  package func prepare(in handle: borrowing TransactionHandle) throws(FilesystemError) {
    try oldTree?.remove(in: handle)
    for group in changedGroups where group.loading == .unloaded {
      space.loader.load(group)
    }
    makeRoom()

    try state.withLock { state throws(FilesystemError) in
      try disownOld(state, in: handle)
      try setUpDirty(&state, in: handle)
    }
    try references.run(in: handle)

    try state.withLock { state throws(FilesystemError) in
      // Applying the references has changed groups that nothing else had.
      try setUpDirty(&state, in: handle)
      let threshold = hooks.withLock { $0.earlyWriteThreshold }
      let groups = changedGroups
      if groups.count > threshold {
        try writeOut(groups.filter { cache(of: $0).state == .setup }, in: handle)
      }
    }
    try references.run(in: handle)
  }

  /// Changed groups that have caches.
  private var changedGroups: [BlockGroup] {
    let forgotten = caches.withLock { $0.forgotten }
    return space.groups.dirty.filter { $0.isCacheable && !forgotten.contains($0.start) }
  }

  /// Finds data space for the files of groups that are not set up yet.
  private func makeRoom() {
    let lengths = changedGroups.map {
      CacheLayout.byteCount(forGroupLength: $0.length)
    }
    let total = lengths.reduce(0, +)
    if total > 0 { space.reservations.makeRoomForRecord(total) }
  }

  /// Sets up groups that only what the commit itself does has changed.
  package func preparePaths(
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    try state.withLock { state throws(FilesystemError) in try setUpDirty(&state, in: handle) }
  }

  /// Says whether any group was set up.
  @discardableResult
  private func setUpDirty(
    _ state: inout State, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    var hasChanged = false
    for group in changedGroups {
      let maySetUp = state.refusedGeneration != handle.generation
      let step = cache(of: group).nextStep(
        group.moment, handle.generation, maySetUp: maySetUp, mayWrite: true)
      guard case .setUp = step else { continue }
      try setUp(group, &state, in: handle)
      hasChanged = true
    }
    return hasChanged
  }

  /// Does what the changed groups need next.
  ///
  /// It comes to an end: each group is set up once at most, from when all its items are in blocks
  /// of this transaction; then writes change in place only. Should rounds still not suffice, the
  /// rest is disowned, in place too.
  package func settle(
    in handle: borrowing TransactionHandle, _ context: borrowing CommitContext, round: Int
  ) throws(FilesystemError) -> Bool {
    precondition(handle.isWithinCommit && handle.generation == context.generation)
    return try state.withLock { state throws(FilesystemError) in
      try settle(&state, mayWrite: round <= Self.writingRounds, in: handle)
    }
  }

  private func settle(
    _ state: inout State, mayWrite: Bool, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    let groups = changedGroups
    var ready: [BlockGroup] = []
    var hasChanged = false
    for group in groups {
      let maySetUp = state.refusedGeneration != handle.generation
      let step = cache(of: group).nextStep(
        group.moment, handle.generation, maySetUp: maySetUp, mayWrite: mayWrite)
      switch step {
      case .nothing: continue
      case .write: ready.append(group)
      case .setUp:
        try setUp(group, &state, in: handle)
        hasChanged = true
      case .invalidate:
        try invalidate(group, in: handle)
        hasChanged = true
      }
    }

    // What was just set up allocates, so that a cache written now would be stale at once.
    if hasChanged { return true }
    if !ready.isEmpty {
      try writeOut(ready, in: handle)
      return true
    }
    noteWanting(groups)
    return false
  }

  /// Nothing is left to do: remembers which groups are left without an exact cache.
  private func noteWanting(_ groups: [BlockGroup]) {
    for group in groups {
      let moment = group.moment
      caches.withLock { caches in
        let isExact = caches.byGroup[group.start, default: GroupCache()].isExact(moment)
        caches.wanting[group.start] = isExact || moment.loading == .damaged ? nil : group
      }
    }
  }

  /// A group without an exact cache is looked at by the next commit, too. The list of changed
  /// groups has been emptied by now.
  package func seal(_ superblock: inout Superblock, _ context: borrowing CommitContext) {
    let (wanting, unvouched) = caches.withLock { (Array($0.wanting.values), $0.unvouched) }
    for group in wanting { space.groups.listAsDirty(group) }
    oldTree?.seal(&superblock)
    // Any old number but 0 makes everybody ignore all caches.
    let mayVouch = old?.isUnfinished != true && unvouched != context.generation
    superblock.cacheGeneration = context.generation.rawValue - (mayVouch ? 0 : 1)
  }

  /// Disowns the next caches that nobody vouches for. The lock is held.
  private func disownOld(
    _ state: borrowing State, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    guard let old, old.isUnfinished else { return }
    do throws(FilesystemError) {
      if try disownNext(old, state, in: handle), !old.isUnfinished {
        log.info("old free space caches are disowned")
      }
    } catch {
      // Until they are, no superblock vouches for any.
      if handle.isHalfDone { throw error }
      log.warning("old free space caches cannot be disowned yet: \(error)")
    }
  }

  /// Says whether the image has any caches.
  private func disownNext(
    _ old: OldCacheFiles, _ state: borrowing State, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    let owners = state.owners
    return try old.visitNext { address throws(FilesystemError) in
      if let group = try? space.groups.group(containing: address), group.start == address {
        if !cache(of: group).isOurs { try invalidate(group, .clear, in: handle) }
      } else {
        // No group begins here.
        try FreeSpaceInode.removeCache(
          of: address, in: trees.root, references, unless: { owners[$0] != nil }, in: handle)
      }
      handle.noteWhole()
    }
  }

  /// Caches that would be believed and are not exact (invariant 1).
  package func brokenInvariants() -> [String] {
    if old?.isUnfinished == true { return [] }
    let forgotten = caches.withLock { $0.forgotten }
    return space.groups.all.compactMap { group in
      guard group.isCacheable, !forgotten.contains(group.start) else { return nil }
      let (cache, moment) = (cache(of: group), group.moment)
      return cache.isExact(moment) || !cache.mayBeBelieved
        ? nil : "the cache of block group \(group.start) is believed and is not exact"
    }
  }
}

import FreeSpace
import Logging

/// What a commit does with the caches.
extension CacheFiles {
  /// After so many rounds what is still not written is disowned instead.
  private static let writingRounds = 24

  /// After so many set-ups their references are applied, so that no bound on those that are pending
  /// stands in the way.
  private static let setUpBatch = 256

  /// Loads the changed groups, sets their caches up, and where there are many writes them too, so
  /// that only what changes again is left for `settle`.
  package func prepare(in handle: borrowing TransactionHandle) throws(FilesystemError) {
    try oldTree?.remove(in: handle)
    distrustNext()
    let groups = state.withLock { state in takePending(&state) }
    loadMissing(groups)

    try state.withLock { state throws(FilesystemError) in try disownOld(&state, in: handle) }
    try setUp(groups, in: handle)
    // Applying the references has changed groups that nothing else had.
    let more = state.withLock { state in takePending(&state) }
    try setUp(more, in: handle)

    let threshold = hooks.withLock { $0.earlyWriteThreshold }
    try state.withLock { state throws(FilesystemError) in
      let groups = takePending(&state)
      guard groups.count > threshold else { return }
      try writeOut(groups.filter { cache(of: $0).state == .setup }, in: handle)
    }
    try references.run(in: handle)
  }

  /// Puts the next of the groups on the list whose caches are to be made.
  private func distrustNext() {
    let next = state.withLock { state in
      let next = state.unwritten.prefix(OldCacheFiles.batchSize)
      state.unwritten = state.unwritten.dropFirst(OldCacheFiles.batchSize)
      return next
    }
    for group in next { distrust(group) }
  }

  private func loadMissing(_ groups: some Sequence<BlockGroup>) {
    for group in groups where group.loading == .unloaded { space.loader.load(group) }
  }

  /// Adds the groups that have changed since the last look to those that are to be seen to, and
  /// takes out those whose caches are exact. In ascending order. The lock is held.
  private func takePending(_ state: inout State) -> [BlockGroup] {
    let work = space.groups.takeRecordWork()
    // What most looks of a commit find.
    if work.isEmpty, state.pending.isEmpty { return [] }
    let forgotten = caches.withLock { $0.forgotten }
    for group in work where group.isCacheable && !forgotten.contains(group.start) {
      state.pending[group.start] = group
    }
    let exact = state.pending.values.filter { isExact($0) }
    for group in exact { state.pending[group.start] = nil }
    return state.pending.values.sorted { $0.start < $1.start }
  }

  /// Finds data space for the files of groups that are not set up yet, of these lengths.
  private func makeRoom(for lengths: [UInt64]) {
    let total = lengths.reduce(0, +)
    guard total > 0 else { return }
    space.reservations.makeRoomForRecord(total, longest: lengths.max() ?? 0)
  }

  /// Sets up groups that only what the commit itself does has changed.
  package func preparePaths(
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    let groups = state.withLock { state in takePending(&state) }
    return try setUp(groups, in: handle)
  }

  /// Sets up those of `groups` that need it, deletes the caches of those that are being emptied, and
  /// applies the references that this brings. Says whether there were any.
  @discardableResult
  private func setUp(
    _ groups: [BlockGroup], in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    if groups.isEmpty { return false }
    // The commit itself may be what has changed them.
    loadMissing(groups.prefix(Self.setUpBatch))
    // None of a group that is read-only, which may have changed when its turn comes.
    let lengths = groups.map { group -> UInt64? in
      group.isReadOnly ? nil : fileLength(of: group, handle.generation)
    }
    makeRoom(for: lengths.compactMap { $0 })
    var hasChanged = false
    var rest = groups[...]
    while !rest.isEmpty {
      loadMissing(rest.prefix(Self.setUpBatch))
      try state.withLock { state throws(FilesystemError) in
        for index in rest.prefix(Self.setUpBatch).indices {
          let group = groups[index]
          let maySetUp = state.refusedGeneration != handle.generation
          let step = cache(of: group).nextStep(
            group.moment, handle.generation, maySetUp: maySetUp, mayWrite: true)
          switch step {
          case .setUp:
            // One that is loaded only now may do with less than was thought.
            let length = index < Self.setUpBatch ? lengths[index] : nil
            try setUp(group, length: length, &state, in: handle)
          case .delete: try delete(group, &state, in: handle)
          case .nothing, .write, .invalidate: continue
          }
          hasChanged = true
        }
      }
      rest = rest.dropFirst(Self.setUpBatch)
      try references.run(in: handle)
    }
    return hasChanged
  }

  /// Does what the changed groups need next.
  ///
  /// It comes to an end: each group is set up twice at most, or its cache deleted once, from when all
  /// its items are in blocks of this transaction; then writes change in place only. Should rounds
  /// still not suffice, the rest is disowned, in place too.
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
    var ready: [BlockGroup] = []
    var hasChanged = false
    for group in takePending(&state) {
      let maySetUp = state.refusedGeneration != handle.generation
      let step = cache(of: group).nextStep(
        group.moment, handle.generation, maySetUp: maySetUp, mayWrite: mayWrite)
      switch step {
      case .nothing: continue
      case .write: ready.append(group)
      case .setUp:
        try setUp(group, length: nil, &state, in: handle)
        hasChanged = true
      case .delete:
        try delete(group, &state, in: handle)
        hasChanged = true
      case .invalidate:
        noteSkipped(group, mayWrite: mayWrite)
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
    // Nothing is left to do. Groups that are left without an exact cache are looked at by the next
    // commit, though they may not change; those that never can have one are not.
    for group in Array(state.pending.values) where group.loading == .damaged {
      state.pending[group.start] = nil
    }
    return false
  }

  /// Counts a cache that is disowned in place of being written; one that failed is counted.
  private func noteSkipped(_ group: BlockGroup, mayWrite: Bool) {
    let moment = group.moment
    if moment.loading != .loaded {
      outcomes.note(.notLoaded)
    } else if !mayWrite {
      outcomes.note(.endless)
    } else if moment.hasDataInFlight {
      outcomes.note(.inFlight)
    }
  }

  package func seal(_ superblock: inout Superblock, _ context: borrowing CommitContext) {
    let unvouched = caches.withLock { $0.unvouched }
    oldTree?.seal(&superblock)
    // Any old number but 0 makes everybody ignore all caches.
    let mayVouch = old?.isUnfinished != true && unvouched != context.generation
    superblock.cacheGeneration = context.generation.rawValue - (mayVouch ? 0 : 1)
  }

  /// Disowns the next caches that nobody vouches for. The lock is held.
  private func disownOld(
    _ state: inout State, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    guard let old, old.isUnfinished else { return }
    state.isHeldUp = false
    do throws(FilesystemError) {
      if try disownNext(old, state, in: handle), !old.isUnfinished {
        log.info("old free space caches are disowned")
      }
    } catch {
      // Until they are, no superblock vouches for any.
      if handle.isHalfDone { throw error }
      state.isHeldUp = true
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
        if cache(of: group).isOurs { return }
        try invalidate(group, .clear, isTriedAgain: true, in: handle)
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

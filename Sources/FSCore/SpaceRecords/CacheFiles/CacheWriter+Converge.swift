import FreeSpace

extension CacheWriter {
  /// After so many rounds what is still not written is disowned instead.
  private static let writingRounds = 24
  /// A commit that takes more rounds than this does not end.
  private static let rounds = 256

  /// What can be done before the critical section, while others still change trees: loads the
  /// changed groups, sets their caches up, and where there are many writes them too, so that
  /// only what changes again is left for `converge`. The handle is one of the running
  /// transaction; no lock is held.
  package func prepare(in h: borrowing TransactionHandle) throws(FilesystemError) {
    guard mode == .kept || state.withLock({ $0.clearFrom != nil }) else { return }
    if mode == .kept {
      space.loadDirtyGroups()
      makeRoom()
    }

    try state.withLock { state throws(FilesystemError) in
      try clearOld(&state, in: h)
      guard mode == .kept else { return }
      try setUpDirty(&state, in: h)
    }
    try references.run(in: h)
    guard mode == .kept else { return }

    try state.withLock { state throws(FilesystemError) in
      // Applying the references has changed groups that nothing else had.
      try setUpDirty(&state, in: h)
      let threshold = hooks.withLock { $0.earlyWriteThreshold }
      let groups = space.dirtyGroups.filter { $0.isCacheable }
      if groups.count > threshold {
        try writeOut(groups.filter { $0.cacheState == .setup }, in: h)
      }
    }
  }

  /// Finds data space for the files of groups that are not set up yet.
  private func makeRoom() {
    let lengths = space.dirtyGroups.filter { $0.isCacheable }.map {
      CacheLayout.byteCount(forGroupLength: $0.length)
    }
    let total = lengths.reduce(0, +)
    if total > 0 { space.makeRoomForCaches(total) }
  }

  private func setUpDirty(
    _ state: inout State, in h: borrowing TransactionHandle
  ) throws(FilesystemError) {
    for group in space.dirtyGroups where group.isCacheable {
      let maySetUp = state.refusedGeneration != h.generation
      let step = group.nextCacheStep(h.generation, maySetUp: maySetUp, mayWrite: true)
      if case .setUp = step { try setUp(group, &state, in: h) }
    }
  }

  /// Step 4: applies references and writes items and caches until nothing changes any more. On
  /// return no reference is pending, every BLOCK_GROUP_ITEM and root item is right, and every
  /// cache on the device that can be believed is exact.
  ///
  /// It ends: each group is set up once at most, from when all its items are in blocks of this
  /// transaction; then writes change in place only. Should rounds still not suffice, the rest
  /// is disowned, in place too.
  ///
  /// - Parameter updateRootItems: writes the root items of trees whose root moved; says whether
  ///   there was one.
  package func converge(
    in h: borrowing TransactionHandle, _ context: borrowing CommitContext,
    updateRootItems: (borrowing TransactionHandle) throws(FilesystemError) -> Bool
  ) throws(FilesystemError) {
    precondition(h.isWithinCommit && h.generation == context.generation)
    try state.withLock { state throws(FilesystemError) in
      var round = 0
      while true {
        round += 1
        guard round <= Self.rounds else { throw .corrupt("the commit does not come to an end") }

        try space.insertNewGroups(in: h)
        try references.run(in: h)
        try space.updateBlockGroupItems(in: h)
        _ = try updateRootItems(h)
        if references.pendingCount > 0 || space.hasUsedNewGroups { continue }

        let mayWrite = round <= Self.writingRounds
        let groups = space.dirtyGroups
        if try settleCaches(of: groups, &state, mayWrite: mayWrite, in: h) { continue }
        return try space.forgetDirtyGroups(groups, keepingCaches: mode == .kept)
      }
    }
  }

  /// Does what the changed groups need next; false when they need nothing.
  private func settleCaches(
    of groups: [BlockGroup], _ state: inout State, mayWrite: Bool, in h: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    guard mode == .kept else { return false }
    var ready: [BlockGroup] = []
    var hasChanged = false
    for group in groups where group.isCacheable {
      let maySetUp = state.refusedGeneration != h.generation
      switch group.nextCacheStep(h.generation, maySetUp: maySetUp, mayWrite: mayWrite) {
      case .nothing: continue
      case .write: ready.append(group)
      case .setUp:
        try setUp(group, &state, in: h)
        hasChanged = true
      case .invalidate:
        try invalidate(group, in: h)
        hasChanged = true
      }
    }

    // What was just set up allocates, so that a cache written now would be stale at once.
    if hasChanged { return true }
    if ready.isEmpty { return false }
    try writeOut(ready, in: h)
    return true
  }
}

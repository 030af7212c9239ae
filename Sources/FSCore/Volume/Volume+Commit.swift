/// The commit: how what is in memory becomes the state that the device holds.
extension Volume {
  /// Makes durable all that was changed before the call, but not what is still buffered as
  /// dirty file data: that is `synchronizeAll`'s business. Any thread may call it, also one
  /// that holds inodes; one commit runs at a time, and one that began after the call serves all
  /// who wait.
  ///
  /// Errors: what the device answered, or what `TransactionManager.refusal` says.
  package func commit() throws(FilesystemError) {
    guard readOnlyReason == nil else { return }
    HeldLocks.assertMayWait(below: .commit)

    // One that is being written now may hold what the caller asks for.
    let target = transactions.newestChanged
    let (mustWait, isLast) = commitTurn.withLock { $0.arrive(target) }
    if isLast { commitTurn.update { _ in } }
    // Who is served already must not wait for the commit of who was faster to wake.
    let isDone = commitTurn.when({ !$0.isCommitting || transactions.committed >= target }) {
      turn -> Bool in
      turn.leave(target)
      if transactions.committed >= target { return true }
      turn.isCommitting = true
      return false
    }
    if isDone { return }

    defer { commitTurn.update { $0.isCommitting = false } }
    gather(hasWaited: mustWait)
    let start = ContinuousClock.now
    try commitOnce()
    let duration = start.duration(to: .now)
    commitTurn.withLock { $0.lastSeconds = duration / .seconds(1) }
  }

  /// One commit, step by step. Called by one thread at a time.
  private func commitOnce() throws(FilesystemError) {
    if let refusal = transactions.refusal { throw refusal }

    // 1. What can be done while others still take part.
    try prepareCommit()

    // 2. Alone: the trees take their final form, the caches are written.
    let frozen = try transactions.criticalSection {
      (context) throws(FilesystemError) -> FrozenTransaction in
      try transactions.joinWithoutLock(context) { (handle) throws(FilesystemError) in
        try cacheWriter.converge(in: handle, context) {
          (handle) throws(FilesystemError) in
          try trees.updateRootItems(now: now(), in: handle)
        }
      }
      return try freeze(context.generation)
    }

    // 3. The next transaction runs; this one goes to the device.
    do throws(FilesystemError) {
      try write(frozen)
    } catch {
      transactions.abort(error)
      throw error
    }
    superblock.withLock { $0 = frozen.superblock }
    blockCache.superGeneration = frozen.superblock.generation

    // 4. What the last commit still needed may be overwritten now.
    trees.context.reuse.exclusive { space.unpin(frozen.superblock.generation) }
    references.didCommit()
    commitTurn.withLock { $0.didCommit(frozen.superblock.generation) }
    transactions.didCommit(frozen.superblock.generation)
  }

  /// Applies what has piled up, so that the critical section is short.
  private func prepareCommit() throws(FilesystemError) {
    try transactions.performUnreserved { (handle) throws(FilesystemError) in
      try space.insertNewGroups(in: handle)
      try references.run(in: handle)
    }
    try transactions.performUnreserved { (handle) throws(FilesystemError) in
      try cacheWriter.prepare(in: handle)
      try references.run(in: handle)
    }
  }

  /// A transaction whose trees will not change any more.
  private struct FrozenTransaction {
    var superblock: Superblock
    var blocks: [TreeBlock]
  }

  /// Takes down what is to be written. Inside the critical section, after all changes.
  private func freeze(_ generation: Generation) throws(FilesystemError) -> FrozenTransaction {
    var next = superblock.withLock { $0 }
    let root = trees.root.rootState
    let chunk = trees.chunk.rootState

    next.generation = generation
    next.root = root.address
    next.rootLevel = root.level
    next.chunkRoot = chunk.address
    next.chunkRootLevel = chunk.level
    next.chunkRootGeneration = chunk.generation
    next.logRoot = 0
    next.logRootLevel = 0
    next.bytesUsed = space.totalUsed
    var item = try next.deviceItem
    item.bytesUsed = space.deviceBytesUsed
    next.setDeviceItem(item)
    try next.setSystemChunks(space.systemChunks)
    next.cacheGeneration = cacheWriter.cacheGeneration(at: generation)
    if next.uuidTreeGeneration == generation.rawValue - 1 {
      next.uuidTreeGeneration = generation.rawValue
    }
    if geometry.nodeSize > 4096 { next.features.insert(.bigMetadata) }

    let topLevel = try trees.subvolume(.topLevel).rootState
    let others = [
      trees.extent.rootState, topLevel, trees.device.rootState, trees.checksum.rootState,
    ]
    next.rotateBackup(
      ([root, chunk] + others).map {
        Superblock.BackupTree(address: $0.address, generation: $0.generation, level: $0.level)
      })

    return FrozenTransaction(superblock: next, blocks: blockCache.takeDirty())
  }

  /// Tree blocks, flush, first superblock, flush; then its copies, which are for recovery: the
  /// next commit's first flush makes them durable, or the one at unmount.
  private func write(_ frozen: FrozenTransaction) throws(FilesystemError) {
    try BlockWriter(device: device, geometry: geometry).write(frozen.blocks)
    try device.flush()
    blockCache.didWrite(frozen.blocks)

    for offset in Superblock.offsets(deviceSize: try frozen.superblock.deviceItem.totalBytes) {
      let copy = frozen.superblock.sealed(for: offset)
      try device.device.write(copy.readable, at: offset)
      if offset.rawValue == Format.superblockOffsets[0] { try device.flush() }
    }
  }

  /// How many commits there have been in all of the volume's life.
  package var commitCount: UInt64 { transactions.committed.rawValue }

  /// Writes all buffered file data, then commits: what sync(2) promises elsewhere. Throws the
  /// error of a write-back that lost data too, once, after the commit.
  package func synchronizeAll() throws(FilesystemError) {
    guard readOnlyReason == nil else { return }
    files.flushAll()
    try commit()
    try files.reportLostData()
  }
}

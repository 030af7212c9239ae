import Logging

extension Volume {
  /// Opens an image. A volume that can be written has its orphans removed, and commits by
  /// itself every `commitInterval` seconds from here on.
  package static func mount(
    device: any BlockDevice, options: VolumeOptions, logger: Logger
  ) throws(FilesystemError) -> Volume {
    let image = try OpenedImage(device: device, options: options, log: logger)
    if let reason = image.readOnlyReason, !options.readOnly {
      logger.warning("mounting read-only: \(reason)")
    }

    let volume = try assemble(image, options: options, log: logger)
    try volume.start()
    return volume
  }

  /// Puts the layers together, each made from those below it.
  private static func assemble(
    _ image: OpenedImage, options: VolumeOptions, log: Logger
  ) throws(FilesystemError) -> Volume {
    let trees = image.trees
    let geometry = image.geometry
    let transactions = TransactionManager(committed: image.superblock.generation)
    let checksums = ChecksumTree(tree: trees.checksum, geometry: geometry)
    let space = try SpaceManager(
      trees: trees, chunks: image.device.chunks, geometry: geometry,
      superblock: image.superblock, isReadOnly: image.readOnlyReason != nil, log: log)
    let cache = image.cache
    let references = DelayedReferences(
      geometry: geometry, extentTree: trees.extent, space: space, checksums: checksums,
      memory: image.memory.references, treeBlockFreed: { cache.drop($0) })
    let cacheWriter = try CacheWriter(
      space: space, trees: trees, references: references, device: image.device,
      geometry: geometry, superblock: image.superblock,
      mode: options.spaceCache == .v1 ? .kept : .none, clear: options.clearCache, log: log)

    let volume = Volume(
      image: image, space: space, references: references, checksums: checksums,
      cacheWriter: cacheWriter, transactions: transactions, options: options, log: log)
    trees.context.allocator = space
    trees.context.references = references
    transactions.reserver = space
    transactions.relieveMemory = { [memory = image.memory, weak volume] in
      if memory.wantsCommit { volume?.relieveMemory() }
    }
    image.memory.dropClean = { [weak cache] in cache?.trim() }
    PageMemory.shared.raiseBound(to: image.memory.totalBytes / 16 * 13)
    transactions.onAbort = { error in
      if case .shutDown = error { return log.notice("\(error)") }
      log.critical("\(error); the file system is read-only from now on")
    }
    return volume
  }

  private func start() throws(FilesystemError) {
    guard !isReadOnly else { return }
    space.requestCommit = { [weak self] () throws(FilesystemError) in try self?.commit() }
    if options.clearCache, options.spaceCache == .v1 {
      for group in space.groups where group.isCacheable { space.distrustCache(of: group) }
      try transactions.performUnreserved { (handle) throws(FilesystemError) in handle.noteChange() }
    }
    try disownQuotas()
    try cleanOrphans()
    periodicThread = BackgroundThread { [weak self, interval = options.commitInterval] in
      var periodEnd = SuspendingClock.now + .seconds(interval)
      while let volume = self {
        switch volume.waitForNextCommit(before: periodEnd) {
        case .unmount: return
        case .period:
          volume.commitPeriodically()
          periodEnd = .now + .seconds(interval)
        case .memory:
          // The last commit may have been enough. What the errors are, others find out.
          if volume.memory.wantsCommit { try? volume.commit() }
        }
      }
    }
  }

  private enum WakeReason { case unmount, period, memory }

  /// Waits until the next commit is due. Those that memory asks for do not put the others off,
  /// which write file data, too.
  private func waitForNextCommit(before periodEnd: SuspendingClock.Instant) -> WakeReason {
    let seconds = (periodEnd - .now) / .seconds(1)
    var reason = WakeReason.period
    periodic.wait(atMost: max(seconds, 0)) { state in
      if state.mustStop {
        reason = .unmount
      } else if state.isMemoryShort, seconds > 0 {
        reason = .memory
      }
      state.isMemoryShort = false
      return reason != .period
    }
    return reason
  }

  /// Sees to a commit because of what it lets go: by the thread that commits periodically, so
  /// that the caller can go on; but when there is too much by now the caller waits for it.
  private func relieveMemory() {
    guard memory.requiresCommit else {
      let isNews = periodic.withLock { state in
        defer { state.isMemoryShort = true }
        return !state.isMemoryShort
      }
      if isNews { periodic.update { _ in } }
      return
    }
    do throws(FilesystemError) {
      if let writing = transactions.writing {
        // What it holds may be enough; and what runs now is better left to grow meanwhile.
        try transactions.waitUntilCommitted(writing)
      } else {
        try commit()
      }
    } catch {
      // The join that follows fails, too.
    }
  }

  private func commitPeriodically() {
    guard transactions.failure == nil else { return }
    do throws(FilesystemError) {
      // Data that are lost are the business of who asks for them.
      files.flushAll()
      try commit()
    } catch {
      log.error("the periodic commit failed: \(error)")
    }
  }

  /// Writes everything, removes what was unlinked while open, and commits. Nobody calls the
  /// volume during this or after it. Throws also when all of that went well, but data were lost
  /// before that nobody who synchronized the volume was told of.
  package func unmount() throws(FilesystemError) {
    periodic.update { $0.mustStop = true }
    periodicThread?.join()
    periodicThread = nil
    defer { workers.stop() }
    guard !isReadOnly else { return }

    switch transactions.failure {
    case nil: break
    // All that was promised is durable.
    case .shutDown: return
    default: throw .aborted
    }
    files.flushAll()
    removeAllOrphans()
    try commit()
    // The copies of the superblock.
    try device.flush()
    try files.reportLostData()
  }
}

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
      device: image.superblock.deviceItem, isReadOnly: image.readOnlyReason != nil, log: log)
    let cache = image.cache
    let references = DelayedReferences(
      geometry: geometry, extentTree: trees.extent, space: space, checksums: checksums,
      treeBlockFreed: { cache.drop($0) })
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
    let dirtyLimit = MemoryBudget(totalBytes: options.cacheBytes).dirtyBlockBytes
    transactions.relieveMemory = { [weak volume] in
      guard let volume, volume.blockCache.dirtyBytes > dirtyLimit else { return }
      try? volume.commit()
    }
    transactions.onAbort = { error in
      log.critical("\(error); the file system is read-only from now on")
    }
    return volume
  }

  private func start() throws(FilesystemError) {
    guard !isReadOnly else { return }
    space.requestCommit = { [weak self] () throws(FilesystemError) in try self?.commit() }
    try disownQuotas()
    try cleanOrphans()
    periodicThread = BackgroundThread { [weak self] in
      while let volume = self {
        if volume.waitForNextPeriod() { return }
        volume.commitPeriodically()
      }
    }
  }

  /// Returns true when the volume is being unmounted.
  private func waitForNextPeriod() -> Bool {
    periodic.wait(atMost: options.commitInterval) { $0.mustStop }
  }

  private func commitPeriodically() {
    guard transactions.failure == nil else { return }
    do throws(FilesystemError) {
      try synchronizeAll()
    } catch {
      log.error("the periodic commit failed: \(error)")
    }
  }

  /// Writes everything, removes what was unlinked while open, and commits. Nobody calls the
  /// volume during this or after it.
  package func unmount() throws(FilesystemError) {
    periodic.update { $0.mustStop = true }
    periodicThread?.join()
    periodicThread = nil
    defer { workers.stop() }
    guard !isReadOnly else { return }

    if transactions.failure != nil { throw .aborted }
    try files.flushAll()
    removeAllOrphans()
    try commit()
    // The copies of the superblock.
    try device.flush()
  }
}

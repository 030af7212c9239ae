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
    let recordKind = try SpaceRecordKind(of: image, options)
    let space = try SpaceManager(
      trees: trees, chunks: image.device.chunks, geometry: geometry,
      superblock: image.superblock, isReadOnly: image.readOnlyReason != nil,
      notesChanges: recordKind == .freeSpaceTree && image.readOnlyReason == nil, log: log)
    let cache = image.cache
    let references = DelayedReferences(
      geometry: geometry, extentTree: trees.extent, space: space, checksums: checksums,
      memory: image.memory.references, treeBlockFreed: { cache.drop($0) })
    let record = try recordKind.makeRecord(
      of: image, space: space, references: references, options: options, log: log)
    let committer = Committer(
      transactions: transactions,
      sequence: CommitSequence(
        transactions: transactions, blockCache: cache, device: image.device, geometry: geometry,
        superblock: image.superblock,
        participants: [
          ChunkItems(space: space), references, BlockGroupItems(space: space),
          RootItems(trees: trees), record,
        ], log: log))

    let volume = Volume(
      image: image, space: space, references: references, checksums: checksums, record: record,
      committer: committer, transactions: transactions, options: options, log: log)
    trees.context.allocator = space
    trees.context.references = references
    space.freeSpaceLoader = record
    space.pendingReferences = { [weak references] in references?.pendingCount ?? 0 }
    transactions.reserver = space
    transactions.relieveMemory = { [weak periodic = volume.periodicCommit] in
      periodic?.relieveMemory()
    }
    image.memory.dropClean = { [weak cache] in cache?.trim() }
    PageMemory.shared.raiseBound(to: image.memory.totalBytes / 16 * 13)
    transactions.onAbort = { [device = image.device] error in
      device.repairs.forbid()
      if case .shutDown = error { return log.notice("\(error)") }
      log.critical("\(error); the file system is read-only from now on")
    }
    return volume
  }

  private func start() throws(FilesystemError) {
    guard !isReadOnly else { return }
    space.requestCommit = { [weak committer] () throws(FilesystemError) in
      try committer?.commit()
    }
    if record.wantsCommit { try commitRecord() }
    try disownQuotas()
    try orphans.clean()
    periodicCommit.start(interval: options.commitInterval)
  }

  /// Lets the record of free space be written anew, or changed for another, before anything else
  /// happens: it is all in one commit, by which the image has the one or the other.
  private func commitRecord() throws(FilesystemError) {
    // The reservation is what loads metadata groups. When there is no room for it, the global
    // reserve may still do.
    let items = 64 + space.groups.count / 8
    do throws(FilesystemError) {
      try transactions.perform(reserving: items, for: .freeing) {
        (handle) throws(FilesystemError) in handle.noteChange()
      }
    } catch .noSpace {
      try transactions.performUnreserved { (handle) throws(FilesystemError) in handle.noteChange() }
    }
    try commit()
  }

  /// Writes everything, removes what was unlinked while open, and commits. Nobody calls the
  /// volume during this or after it. Throws also when all of that went well, but data were lost
  /// before that nobody who synchronized the volume was told of.
  package func unmount() throws(FilesystemError) {
    periodicCommit.stop()
    defer { workers.stop() }
    guard !isReadOnly else { return }

    switch transactions.failure {
    case nil: break
    // All that was promised is durable.
    case .shutDown: return
    default: throw .aborted
    }
    files.flushAll()
    orphans.removeAll()
    try commit()
    // The copies of the superblock.
    try device.flush()
    try files.reportLostData()
  }
}

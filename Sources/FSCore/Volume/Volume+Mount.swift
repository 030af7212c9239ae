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

  private func start() throws(FilesystemError) {
    guard !isReadOnly else { return }
    if record.wantsCommit {
      repeat { try commitRecord() } while record.wantsMoreCommits
    }
    try disownQuotas()
    try orphans.clean(mounted: rootDirectory.tree)
    try cleaner.start()
    periodicCommit.start(interval: options.commitInterval)
    try resumeBalance()
  }

  /// Goes on with a balance that an earlier mount has left.
  private func resumeBalance() throws(FilesystemError) {
    try balancer.load()
    guard balancer.status.phase == .paused else { return }
    guard !options.skipBalance else {
      return log.notice("the image has a balance that is not finished; it is paused")
    }
    log.notice("the image has a balance that is not finished; it goes on")
    try balancer.resume()
  }

  /// Lets the record of free space be written anew, or changed for another, before anything else
  /// happens. By the first commit the image has the one or the other; caches of very many groups are
  /// made by several.
  private func commitRecord() throws(FilesystemError) {
    // The reservation is what loads metadata groups. When there is no room for it, the global
    // reserve may still do.
    let items = 64 + space.groups.all.count / 8
    do throws(FilesystemError) {
      try transactions.perform(reserving: items, for: .freeing) {
        (handle) throws(FilesystemError) in handle.noteChange()
      }
    } catch .noSpace {
      try transactions.performUnreserved { (handle) throws(FilesystemError) in handle.noteChange() }
    }
    try commit()
  }

  /// Writes everything, removes what was unlinked while open, and commits. No thread calls the
  /// volume during this or after it. Throws also when all of that went well, but data were lost
  /// before, and no synchronization of the volume has reported it.
  package func unmount() throws(FilesystemError) {
    balancer.suspend()
    cleaner.stop()
    periodicCommit.stop()
    defer { workers.stop() }
    guard !isReadOnly else { return }

    switch transactions.failure {
    case nil: break
    // All that a caller was told to be durable is.
    case .shutDown: return
    default: throw .aborted
    }
    try committer.requireRoom()
    files.flushAll()
    orphans.removeAll()
    try commit()
    // The copies of the superblock.
    try device.flush()
    #if DEBUG
      let broken = brokenInvariants()
      precondition(broken.isEmpty, broken.joined(separator: "\n"))
    #endif
    try files.reportLostData()
  }
}

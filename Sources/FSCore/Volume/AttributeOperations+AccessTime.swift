extension AttributeOperations {
  /// Whether a read of `inode` now is to be noted in it.
  func needsAccessTimeUpdate(_ inode: Inode, now: Timestamp) -> Bool {
    guard !isReadOnly, accessTimes != .noatime, !inode.isStub,
      !inode.subvolume.isReadOnly, !inode.isDirectory || directoryAccessTimes
    else { return false }

    let item = inode.attributes
    guard !item.flags.contains(.noAtime), item.atime != now else { return false }
    if accessTimes == .strict { return true }
    if item.atime <= item.mtime || item.atime <= item.ctime { return true }
    return now.seconds.subtractingReportingOverflow(item.atime.seconds).partialValue >= 86400
  }

  /// Notes a read of `inode`, if it is to be noted. Called with no lock held. That there is no
  /// space to write it is no error of the read: the time then stays in memory, so that not every
  /// read of a full file system looks for space.
  func touchAccessTime(_ inode: Inode) {
    if isReadOnly || accessTimes == .noatime { return }
    let now = Timestamp.now
    guard needsAccessTimeUpdate(inode, now: now) else { return }
    inode.lock.shared {
      guard !inode.isDeleted else { return }
      do throws(FilesystemError) {
        try transactions.perform(reserving: 1) {
          (handle: borrowing TransactionHandle) throws(FilesystemError) in
          try inode.update(in: handle) { $0.atime = now }
        }
      } catch {
        inode.item.withLock { $0.atime = now }
      }
    }
  }
}

extension Timestamp: Comparable {
  package static func < (a: Timestamp, b: Timestamp) -> Bool {
    (a.seconds, a.nanoseconds) < (b.seconds, b.nanoseconds)
  }
}

/// Brings size and times of a file to disk where no extents follow that would.
struct FileSizeEditor: Sendable {
  let transactions: TransactionManager
  let editor: FileExtentEditor
  let failures: WriteFailures

  /// Sets times, and the size when there is one, after the extents have changed. The inode's
  /// `lock` is held exclusively; takes its `content`.
  func finishChange(of inode: Inode, size: UInt64?) throws(FilesystemError) {
    inode.lock.assertHeldExclusively()
    try inode.content.exclusive { () throws(FilesystemError) in
      try transactions.perform(reserving: 6, useGlobalReserve: true) {
        (handle) throws(FilesystemError) in
        handle.noteChange()
        inode.setFileSize(size ?? inode.item.withLock { $0.size })
        if inode.file.isEmpty { try editor.raiseDiskSize(of: inode, to: .max, in: handle) }
        try inode.writeItem(in: handle)
      }
    }
  }

  /// Brings the size to disk where adding extents did not: all of them lay beyond a new end, or
  /// failed, and the file grew meanwhile. `content` is held exclusively.
  func settle(_ inode: Inode) {
    inode.content.assertHeldExclusively()
    let size = inode.fileSize
    let isBehind = inode.item.withLock { _ in inode.diskSize < size }
    guard isBehind, inode.file.isEmpty, transactions.failure == nil else { return }
    do throws(FilesystemError) {
      let cost = try 4 + editor.holeCount(of: inode, from: size, to: size)
      try transactions.perform(reserving: cost, for: .acceptedData) {
        (handle) throws(FilesystemError) in
        handle.noteChange()
        try editor.raiseDiskSize(of: inode, to: .max, in: handle)
        try inode.writeItem(in: handle)
      }
    } catch {
      failures.record(error, of: inode)
    }
  }
}

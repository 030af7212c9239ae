/// The bits that let a program run with the rights of its file's owner or group.
extension AttributeOperations {
  /// Whether a change of the file's content would take such bits off it.
  package func hasPrivileges(_ id: InodeID) throws(FilesystemError) -> Bool {
    let inode = try inodes.inode(id)
    return inode.isRegular && inode.attributes.mode & 0o6000 != 0
  }

  /// Takes them off what is no directory, before its content changes. Says whether it had any.
  ///
  /// - Parameter isOutsider: the caller is not of the file's group, and may not set such bits.
  package func dropPrivileges(
    of id: InodeID, isOutsider: Bool
  ) throws(FilesystemError) -> Bool {
    let inode = try inodes.inode(id)
    guard !inode.isDirectory, inode.attributes.privileges(isOutsider) != 0 else { return false }
    try requireWritable(inode)
    try InodeTable.exclusively(inode) { () throws(FilesystemError) in
      let now = Timestamp.now
      try transactions.perform(reserving: 1) {
        (handle: borrowing TransactionHandle) throws(FilesystemError) in
        try inode.update(in: handle) { item in
          item.dropPrivileges(isOutsider)
          item.ctime = now
        }
      }
    }
    return true
  }
}

extension InodeItem {
  /// Set-user-ID, and set-group-ID where the group may execute: without that it marks files for
  /// mandatory locking, which an outsider cannot keep either.
  fileprivate func privileges(_ isOutsider: Bool) -> UInt32 {
    let losesGroup = isOutsider || mode & 0o010 != 0
    return mode & (losesGroup ? 0o6000 : 0o4000)
  }

  mutating func dropPrivileges(_ isOutsider: Bool) { mode &= ~privileges(isOutsider) }
}

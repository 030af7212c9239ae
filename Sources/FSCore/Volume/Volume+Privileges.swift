/// The bits that let a program run with the rights of its file's owner or group.
extension Volume {
  /// Takes them off what is no directory, before its content changes. Says whether it had any.
  package func dropPrivileges(of id: InodeID) throws(FilesystemError) -> Bool {
    let inode = try inodes.inode(id)
    guard !inode.isDirectory, inode.attributes.hasPrivileges else { return false }
    try requireWritable(inode)
    try InodeTable.exclusively(inode) { () throws(FilesystemError) in
      let now = now()
      try transactions.perform(reserving: 1) {
        (handle: borrowing TransactionHandle) throws(FilesystemError) in
        try inode.update(in: handle) { item in
          item.dropPrivileges()
          item.ctime = now
        }
      }
    }
    return true
  }
}

extension InodeItem {
  /// Set-user-ID, and set-group-ID where the group may execute: without that it marks files for
  /// mandatory locking.
  private var privileges: UInt32 { mode & 0o4000 | (mode & 0o2010 == 0o2010 ? 0o2000 : 0) }

  var hasPrivileges: Bool { privileges != 0 }

  mutating func dropPrivileges() { mode &= ~privileges }
}

extension Inode {
  /// The empty directory in place of a subvolume that this snapshot does not have. Its id is made
  /// of that subvolume's and number 2. It takes owner and times from the directory it stands in,
  /// when that is known.
  static func stub(
    id: InodeID, in subvolume: Subvolume, within directory: InodeItem? = nil,
    fileState: any FileState
  ) throws(FilesystemError) -> Inode {
    let zero = Timestamp(seconds: 0, nanoseconds: 0)
    var item = InodeItem(
      generation: directory?.generation ?? 0, mode: 0o040755, uid: directory?.uid ?? 0,
      gid: directory?.gid ?? 0, now: zero)
    if let directory {
      item.atime = directory.atime
      item.mtime = directory.mtime
      item.ctime = directory.ctime
      item.otime = directory.otime
    }
    return try Inode(id: id, subvolume: subvolume, item: item, fileState: fileState)
  }
}

extension Inode {
  /// The stub with this id in `directory`.
  static func stub(
    id: InodeID, within directory: Inode, fileState: any FileState
  ) throws(FilesystemError) -> Inode {
    var item = InodeItem(generation: 0, mode: 0o040755, uid: 0, gid: 0, now: .now)
    item.otime = Timestamp(seconds: 0, nanoseconds: 0)
    return try Inode(
      id: id, subvolume: directory.subvolume, item: item, fileState: fileState, around: directory)
  }

  /// Takes owner and access time from the directory around a stub, as Linux does at each look.
  func followDirectoryAround() {
    guard let directory = around?.attributes else { return }
    item.withLock { item in
      item.uid = directory.uid
      item.gid = directory.gid
      item.atime = directory.atime
    }
  }
}

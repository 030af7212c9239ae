extension InodeTable {
  /// Runs `body` with `inode` locked. Throws `.stale` when it was deleted meanwhile.
  @inline(__always)
  static func exclusively<R>(
    _ inode: Inode, _ body: () throws(FilesystemError) -> R
  ) throws(FilesystemError) -> R {
    inode.lock.lockExclusive()
    defer { inode.lock.unlock() }
    guard !inode.isDeleted else { throw .stale }
    return try body()
  }

  /// Runs `body` with all `inodes` locked, in ascending order of their ids; one may stand in
  /// the list twice. Throws `.stale` when one of them was deleted meanwhile.
  static func exclusively<R>(
    _ inodes: [Inode], _ body: () throws(FilesystemError) -> R
  ) throws(FilesystemError) -> R {
    let ascending = inodes.sorted { $0.id < $1.id }
    var locked = 0
    var last: InodeID?
    defer { unlock(ascending[..<locked]) }
    for inode in ascending {
      if inode.id != last { inode.lock.lockExclusive() }
      last = inode.id
      locked += 1
    }
    for inode in ascending where inode.isDeleted { throw .stale }
    return try body()
  }

  /// As `exclusively`; nil when one of the inodes was deleted meanwhile.
  static func exclusivelyIfThere<R>(
    _ inodes: [Inode], _ body: () throws(FilesystemError) -> R
  ) throws(FilesystemError) -> R? {
    do throws(FilesystemError) {
      return try exclusively(inodes, body)
    } catch .stale {
      return nil
    } catch {
      throw error
    }
  }

  private static func unlock(_ ascending: ArraySlice<Inode>) {
    var last: InodeID?
    for inode in ascending where inode.id != last {
      inode.lock.unlock()
      last = inode.id
    }
  }
}

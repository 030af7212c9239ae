/// The content of files: reading, writing, allocating, durability. A volume has one.
///
/// 1. A write holds the inode's `lock` shared, what changes where its content ends or stands holds
///    it exclusively (rank `inode`); the rest is the business of `FileStore`.
/// 2. What the inode's flags and its subvolume forbid is refused before anything changes.
/// 3. An operation that finds no space tries once more, with no lock held, when all that is buffered
///    has its space and what was freed is allocatable.
package final class FileOperations: Sendable {
  let inodes: InodeTable
  let files: FileStore
  let space: Space
  let transactions: TransactionManager
  let committer: Committer
  let attributes: AttributeOperations
  let geometry: Geometry
  let isReadOnly: Bool

  init(
    inodes: InodeTable, files: FileStore, space: Space, transactions: TransactionManager,
    committer: Committer, attributes: AttributeOperations, geometry: Geometry, isReadOnly: Bool
  ) {
    self.inodes = inodes
    self.files = files
    self.space = space
    self.transactions = transactions
    self.committer = committer
    self.attributes = attributes
    self.geometry = geometry
    self.isReadOnly = isReadOnly
  }

  func file(_ id: InodeID) throws(FilesystemError) -> Inode {
    let inode = try inodes.inode(id)
    if inode.isDirectory { throw .isDirectory }
    guard inode.isRegular else { throw .invalidArgument("this is no regular file") }
    return inode
  }

  func writableFile(_ id: InodeID) throws(FilesystemError) -> Inode {
    let inode = try file(id)
    try attributes.requireWritable(inode)
    if let refusal = transactions.refusal { throw refusal }
    return inode
  }

  /// Turns what is buffered into extents and makes what was freed allocatable. For an operation
  /// that found no space, before it tries again; no lock is held.
  func reclaimSpace() throws(FilesystemError) {
    try committer.requireRoom()
    files.flushAll()
    if space.reservations.mayGainByCommit { try committer.commit() }
  }
}

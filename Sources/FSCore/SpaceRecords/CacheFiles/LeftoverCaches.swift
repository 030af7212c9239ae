/// Files of the root tree that are not of the record of free space that the image has now: v1 caches
/// that were left behind, or that are damaged.
package struct LeftoverCaches: Sendable {
  let root: Tree
  let references: DelayedReferences
  let transactions: TransactionManager

  package init(root: Tree, references: DelayedReferences, transactions: TransactionManager) {
    self.root = root
    self.references = references
    self.transactions = transactions
  }

  /// Deletes what such a file has of an extent, and makes sure that nobody believes it. As Linux does,
  /// its inode and its header stay, and go with its block group. Only what the extent's own
  /// references tell is dropped. Called with no lock held and no handle open.
  package func release(
    _ address: LogicalAddress, length: UInt64, of file: ObjectID
  ) throws(FilesystemError) {
    let inode = FreeSpaceInode(group: 0, number: file, root: root)
    let kind = ExtentKind.data(length: length)
    var counted = try references.referrers(of: address, kind)
    var due: [(key: Key, identity: ReferenceIdentity)] = []
    try root.forEach(from: inode.extentKey(0), through: inode.extentKey(.max)) {
      key, bytes throws(FilesystemError) in
      let item = try FileExtentItem(bytes)
      guard item.hasExtent, item.diskAddress == address, item.diskLength == length else {
        return true
      }
      let identity = ReferenceIdentity.data(
        root: .root, inode: file, offset: key.offset &- item.offset)
      if let count = counted[identity], count > 0 {
        counted[identity] = count - 1
        due.append((key, identity))
      }
      return due.count < Self.mostInTransaction
    }
    guard !due.isEmpty else { return }
    try transactions.perform(reserving: due.count + 1, for: .freeing) {
      handle throws(FilesystemError) in
      _ = try inode.changeIfPresent(in: handle) { item in
        item.generation = 0
        item.size = 0
        item.nbytes = 0
      }
      // The group that the file is about may go meanwhile, and the file with it.
      for (key, identity) in due where try root.delete(key, in: handle) {
        references.add(address, kind, identity, count: -1, newExtent: false, in: handle)
      }
    }
  }

  /// More items of one extent go with the next pass.
  private static let mostInTransaction = 64
}

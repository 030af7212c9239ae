import Logging

/// Making, changing and deleting subvolumes. A volume has one.
///
/// 1. A subvolume comes with its tree, its root item, its name and all that refers to it in one
///    transaction; so it goes out of sight.
/// 2. A snapshot is made while no other handle is open (`TransactionManager.performAlone`): whatever an
///    operation changes under one handle, in the source or elsewhere, is in the snapshot as a whole or
///    not at all. What was written to the source before the call is in it, and nothing that is written
///    where older data stand gets into it afterwards (`InPlaceGate`).
/// 3. It takes as long as copying one block, and the commit that makes it durable: of the blocks and
///    extents below the root block only those that the root block names get another reference, and
///    `Tree.lastSnapshot` makes all that changes them later look for other references.
/// 4. Everything is checked and read before the first change; the directory is locked from then on.
/// 5. A number is given to a new subvolume while no other handle is open, as the record of free space
///    takes numbers for its files from the same row.
package final class SubvolumeOperations: Sendable {
  let namespace: Namespace
  let inodes: InodeTable
  let files: FileStore
  let trees: Trees
  let transactions: TransactionManager
  let committer: Committer
  let log: Logger

  init(
    namespace: Namespace, inodes: InodeTable, files: FileStore, trees: Trees,
    transactions: TransactionManager, committer: Committer, log: Logger
  ) {
    self.namespace = namespace
    self.inodes = inodes
    self.files = files
    self.trees = trees
    self.transactions = transactions
    self.committer = committer
    self.log = log
  }

  var uuids: UUIDTree? { trees.uuid.map { UUIDTree(tree: $0, log: log) } }

  /// The subvolume whose root directory this is. Throws `.invalidArgument` for anything else.
  func requireRoot(_ id: InodeID) throws(FilesystemError) -> TreeID {
    guard id.number == .firstFree else { throw .invalidArgument("this is not a subvolume") }
    return id.tree
  }

  /// Throws `.notFound` unless this is a subvolume that is there and not deleted: other trees have root
  /// items as well.
  func rootItem(of id: TreeID) throws(FilesystemError) -> RootItem {
    guard id.isSubvolume, let (_, item) = try trees.rootItem(of: id), item.references > 0 else {
      throw .notFound
    }
    return item
  }
}

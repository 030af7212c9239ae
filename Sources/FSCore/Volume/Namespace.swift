import Logging

/// Names, and what they lead to: directories, links, special files, subvolumes. A volume has one.
///
/// 1. A name is looked up without locks; then the inodes are locked in one batch, in ascending order
///    of their ids (rank `inode`), and the name is looked up again. When it leads elsewhere by then
///    the operation begins anew. No lock is held on return.
/// 2. A name, the reference of its inode, and the attributes of both change in one transaction.
/// 3. Everything is checked before the first change of a tree: an error after it would end the
///    volume.
/// 4. An inode that loses its last name becomes an orphan in the same transaction (`Orphans`).
/// 5. A rename of a directory into another holds `InodeTable.renames`, so that no two of them make
///    a loop.
package final class Namespace: Sendable {
  let inodes: InodeTable
  let trees: Trees
  let transactions: TransactionManager
  let attributes: AttributeOperations
  let orphans: Orphans
  let cleaner: SubvolumeCleaner
  let geometry: Geometry
  /// The directory that stands at the mount point.
  let rootDirectory: InodeID
  let log: Logger

  /// How often an operation begins anew when names change under it.
  static let attempts = 1000

  init(
    inodes: InodeTable, trees: Trees, transactions: TransactionManager,
    attributes: AttributeOperations, orphans: Orphans, cleaner: SubvolumeCleaner,
    geometry: Geometry, rootDirectory: InodeID, log: Logger
  ) {
    self.inodes = inodes
    self.trees = trees
    self.transactions = transactions
    self.attributes = attributes
    self.orphans = orphans
    self.cleaner = cleaner
    self.geometry = geometry
    self.rootDirectory = rootDirectory
    self.log = log
  }
}

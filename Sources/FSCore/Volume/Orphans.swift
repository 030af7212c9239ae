import Logging

/// Deleting what has lost its last name. A volume has one.
///
/// 1. An inode without a name is listed on disk from the transaction on in which it lost it, until
///    the one in which its last item goes: a crash at any moment leaves it for the next mount.
/// 2. It stays while it is open or the kernel refers to it. What lets go of it last deletes it,
///    with no lock held.
/// 3. Its INODE_ITEM goes last: no other item of an inode is ever without it.
package final class Orphans: Sendable {
  private let inodes: InodeTable
  private let files: FileStore
  private let trees: Trees
  private let transactions: TransactionManager
  private let log: Logger

  init(
    inodes: InodeTable, files: FileStore, trees: Trees, transactions: TransactionManager,
    log: Logger
  ) {
    self.inodes = inodes
    self.files = files
    self.trees = trees
    self.transactions = transactions
    self.log = log
  }

  /// Deletes an inode without a name if nothing holds it. Called with no lock held. What cannot
  /// be deleted now stays listed on disk, and is deleted at the next mount.
  func removeIfUnheld(_ inode: Inode) {
    let isUnheldOrphan = inodes.withHolders(of: inode) { inode.isOrphan && inode.openCount == 0 }
    // The last to let go looks at both after its change, so one of two that let go sees this.
    if isUnheldOrphan, !inodes.lookups.contains(inode.id) { removeOrLog(inode) }
  }

  private func removeOrLog(_ inode: Inode) {
    do throws(FilesystemError) {
      try removeOrphan(inode)
    } catch {
      log.warning("inode \(inode.id) has no name and could not be deleted: \(error)")
    }
  }

  private func removeOrphan(_ inode: Inode) throws(FilesystemError) {
    inode.lock.lockExclusive()
    defer { inode.lock.unlock() }
    guard !inode.isDeleted else { return }
    guard inode.attributes.linkCount == 0 else { return try unlist(inode) }

    if inode.isRegular { try files.deleteContent(of: inode) }

    // The INODE_ITEM goes with the last batch.
    let batch = 32
    while true {
      let keys = try OrphanItems.remains(of: inode, limit: batch)
      let isLast = keys.count < batch
      try transactions.perform(reserving: keys.count + 2, useGlobalReserve: true) {
        (handle: borrowing TransactionHandle) throws(FilesystemError) in
        for key in keys { _ = try inode.tree.delete(key, in: handle) }
        guard isLast else { return }
        _ = try inode.tree.delete(inode.itemKey, in: handle)
        _ = try inode.tree.delete(OrphanItems.key(inode.number), in: handle)
      }
      if isLast { break }
    }
    inodes.withHolders(of: inode) { inode.isOrphan = false }
    inodes.remove(inode)
  }

  /// Takes an inode that has a name after all out of the list.
  private func unlist(_ inode: Inode) throws(FilesystemError) {
    try transactions.perform(reserving: 1, useGlobalReserve: true) {
      (handle: borrowing TransactionHandle) throws(FilesystemError) in
      _ = try inode.tree.delete(OrphanItems.key(inode.number), in: handle)
    }
    inodes.withHolders(of: inode) { inode.isOrphan = false }
  }

  /// Deletes all inodes without a name that are in memory, held or not: at unmount.
  func removeAll() {
    for inode in inodes.orphans() { removeOrLog(inode) }
  }

  /// Deletes what a crash has left without a name, in all subvolumes that can be written: at
  /// the mount of a volume that can be written. Deleted subvolumes are left alone. A damaged one is
  /// told of and left alone as well, unless it is the top level or the one that is mounted.
  func clean(mounted: TreeID) throws(FilesystemError) {
    for id in try writableSubvolumes() {
      do throws(FilesystemError) {
        try clean(in: id)
      } catch {
        guard error.isDamage, transactions.failure == nil else { throw error }
        guard id != mounted, id != .topLevel else {
          throw .cannotMount(
            "its subvolume \(id), \(id == mounted ? "which is to be mounted" : "the top level"), "
              + "is damaged: \(error); with -o ro it can be mounted read-only, as far as it can be "
              + "read")
        }
        log.warning(
          """
          subvolume \(id)\(place(of: id)) is damaged: \(error); what stands in the damaged part of it \
          cannot be read, and files without a name that a crash has left in it stay. All others can be used
          """)
      }
    }
  }

  /// The path of a subvolume for a message; empty where it cannot be found.
  private func place(of id: TreeID) -> String {
    let list = SubvolumeList(trees)
    guard let record = try? list.record(of: id), let path = try? list.path(of: record),
      !path.isEmpty
    else { return "" }
    return " ('\(String(decoding: path, as: UTF8.self))')"
  }

  /// Deletes what has no name in one subvolume, which nobody has used yet.
  func clean(in id: TreeID) throws(FilesystemError) {
    let subvolume = try inodes.subvolume(id)
    var first: UInt64 = 0
    while true {
      let numbers = try OrphanItems.list(in: subvolume.tree, from: first, limit: 256)
      for number in numbers { try clean(number, in: subvolume) }
      guard let last = numbers.last, last.rawValue < .max else { break }
      first = last.rawValue + 1
    }
  }

  private func writableSubvolumes() throws(FilesystemError) -> [TreeID] {
    var found: [TreeID] = []
    try trees.root.forEach(
      from: Key(TreeID.topLevel.objectID, .rootItem, 0),
      through: Key(.lastFree, .rootItem, UInt64.max)
    ) { (key, bytes) throws(FilesystemError) in
      let id = TreeID(rawValue: key.objectID.rawValue)
      guard key.type == .rootItem, id.isSubvolume else { return true }
      let item = try RootItem(bytes)
      if item.references > 0 && !item.isReadOnly { found.append(id) }
      return true
    }
    return found
  }

  private func clean(
    _ number: ObjectID, in subvolume: Subvolume
  ) throws(FilesystemError) {
    let inode: Inode
    do throws(FilesystemError) {
      inode = try inodes.inode(InodeID(tree: subvolume.id, number: number))
    } catch .stale {
      // Listed, but gone.
      return try transactions.perform(reserving: 1, useGlobalReserve: true) {
        (handle: borrowing TransactionHandle) throws(FilesystemError) in
        _ = try subvolume.tree.delete(OrphanItems.key(number), in: handle)
      }
    } catch {
      throw error
    }
    inodes.withHolders(of: inode) { inode.isOrphan = true }
    do throws(FilesystemError) {
      try removeOrphan(inode)
    } catch {
      if transactions.failure != nil { throw error }
      log.warning("orphan \(inode.id) could not be deleted: \(error)")
    }
  }
}

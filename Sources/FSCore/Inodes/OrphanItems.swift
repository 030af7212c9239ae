/// Inodes without a name that still exist: listed by an empty item each, so that whoever mounts
/// the file system after a crash can delete them (format §7.7).
enum OrphanItems {
  static func key(_ inode: ObjectID) -> Key { Key(.orphan, .orphanItem, inode.rawValue) }

  /// Lists an inode that has just lost its last name.
  static func add(
    _ inode: Inode, _ handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    try inode.tree.replace(key(inode.number), size: 0, in: handle) { _ in }
  }

  /// The numbers listed in `tree`, at most `limit`, from `first` on.
  static func list(
    in tree: Tree, from first: UInt64, limit: Int
  ) throws(FilesystemError) -> [ObjectID] {
    var numbers: [ObjectID] = []
    try tree.forEach(
      from: Key(.orphan, .orphanItem, first), through: Key(.orphan, .orphanItem, UInt64.max)
    ) { (key, _) throws(FilesystemError) in
      numbers.append(ObjectID(rawValue: key.offset))
      return numbers.count < limit
    }
    return numbers
  }

  /// The keys of what is left of an inode, at most `limit`, its INODE_ITEM aside.
  static func remains(
    of inode: Inode, limit: Int
  ) throws(FilesystemError) -> [Key] {
    var keys: [Key] = []
    try inode.tree.forEach(
      from: Key(inode.number, .inodeItem, 1),
      through: Key(inode.number, ItemType(UInt8.max), UInt64.max)
    ) { (key, _) throws(FilesystemError) in
      keys.append(key)
      return keys.count < limit
    }
    return keys
  }
}

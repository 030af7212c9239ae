/// Where subvolumes stand: ROOT_REF of the parent and ROOT_BACKREF of the child, in the root tree
/// (format §6.3).
enum RootReferences {
  static let fixedSize = 18

  static func key(parent: TreeID, child: TreeID) -> Key {
    Key(parent.objectID, .rootRef, child.rawValue)
  }

  static func backKey(parent: TreeID, child: TreeID) -> Key {
    Key(child.objectID, .rootBackref, parent.rawValue)
  }

  /// The ROOT_REF for `child` in `parent`; nil when it does not stand there.
  static func find(
    parent: TreeID, child: TreeID, in root: Tree
  ) throws(FilesystemError) -> RootReference? {
    try root.find(key(parent: parent, child: child)) { (bytes) throws(FilesystemError) in
      try RootReference(bytes)
    }
  }

  /// The directory that the subvolume stands in; nil for the top level, and for one that is
  /// nowhere.
  static func parent(of child: TreeID, in root: Tree) throws(FilesystemError) -> InodeID? {
    try root.findFirst(atLeast: Key(child.objectID, .rootBackref, 0)) {
      (key, bytes) throws(FilesystemError) -> InodeID? in
      guard key.objectID == child.objectID, key.type == .rootBackref else { return nil }
      return InodeID(
        tree: TreeID(rawValue: key.offset), number: try RootReference(bytes).directory)
    } ?? nil
  }

  /// Whether other subvolumes stand in this one.
  static func hasChildren(_ id: TreeID, in root: Tree) throws(FilesystemError) -> Bool {
    try root.findFirst(atLeast: Key(id.objectID, .rootRef, 0)) { (key, _) in
      key.objectID == id.objectID && key.type == .rootRef
    } ?? false
  }

  static func delete(
    parent: TreeID, child: TreeID, in root: Tree, _ handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    _ = try root.delete(key(parent: parent, child: child), in: handle)
    _ = try root.delete(backKey(parent: parent, child: child), in: handle)
  }

  /// Says where `child` stands: at `name` in `directory`, with this DIR_INDEX.
  static func insert(
    _ child: TreeID, _ name: [UInt8], in directory: InodeID, index: UInt64, _ root: Tree,
    _ handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let parent = directory.tree
    for key in [key(parent: parent, child: child), backKey(parent: parent, child: child)] {
      try root.replace(key, size: fixedSize + name.count, in: handle) { bytes in
        bytes.store(directory.number.rawValue, at: 0)
        bytes.store(index, at: 8)
        bytes.store(UInt16(name.count), at: 0x10)
        bytes.store(name, at: fixedSize)
      }
    }
  }
}

extension SubvolumeOperations {
  /// Deletes the subvolume that a name leads to, with all that is in it, and returns at once: its space
  /// comes back by and by (`SubvolumeCleaner`). What is open of it stays until it is closed.
  ///
  /// Throws `.notDirectory` or `.invalidArgument` for what is no subvolume, `.refused` for the one that is mounted when
  /// none is named, `.notEmpty` where others stand in it.
  package func delete(_ name: [UInt8], in directory: InodeID) throws(FilesystemError) {
    _ = try delete(name, in: directory, expected: nil)
  }

  /// As `delete`, but leaves alone what is not `expected`, if that is not nil. Returns whether it was.
  func delete(
    _ name: [UInt8], in directory: InodeID, expected: TreeID?
  ) throws(FilesystemError) -> Bool {
    try namespace.requireName(name)
    let directory = try inodes.inode(directory)
    guard directory.isDirectory else { throw .notDirectory }
    for _ in 0..<Namespace.attempts {
      guard let entry = try namespace.named(name, in: directory) else {
        if expected != nil { return false }
        throw .notFound
      }
      // The name still leads there when it goes, see `Namespace.deleteSubvolume`.
      if let expected, !entry.isSubvolume || entry.inode.id.tree != expected { return false }
      guard entry.inode.isDirectory else { throw .notDirectory }
      guard entry.isSubvolume else { throw .invalidArgument("this is not a subvolume") }
      try namespace.attributes.requireWritable(directory)
      let isDone = try InodeTable.exclusivelyIfThere([directory, entry.inode]) {
        () throws(FilesystemError) in
        try directory.requireLiveDirectory()
        try directory.requireFlagsAllow(unless: [.immutable, .append])
        try entry.inode.requireFlagsAllow(unless: [.immutable, .append])
        return try namespace.deleteSubvolume(entry)
      }
      if isDone == true { return true }
      if directory.isDeleted { throw .stale }
    }
    throw .busy("the name keeps changing")
  }
}

extension Namespace {
  /// Lets a subvolume go out of sight; its directory and its root directory are locked. Returns false
  /// when the name leads elsewhere by now.
  func deleteSubvolume(_ entry: NamedInode) throws(FilesystemError) -> Bool {
    let id = entry.inode.id.tree
    guard id != rootDirectory.tree else { throw .busy("this subvolume is mounted") }
    guard try DefaultSubvolume.find(in: trees.root) != id else {
      throw .refused("deleting the default subvolume is not allowed: set another one first")
    }
    let now = Timestamp.now
    let directory = entry.directory
    cleaner.beginDeletion()
    var deleted: TreeID?
    defer { cleaner.endDeletion(of: deleted) }
    // Alone, as what has no subvolumes in it must not get one in the same moment.
    let isDone = try transactions.performAlone(reserving: 14, for: .freeing) {
      (handle) throws(FilesystemError) in
      var edits = ItemEdits()
      guard try isCurrent(entry, &edits), let (_, item) = try trees.rootItem(of: id),
        item.references > 0
      else { return false }
      guard try !RootReferences.hasChildren(id, in: trees.root) else { throw .notEmpty }
      let uuids = trees.uuid.map { UUIDTree(tree: $0, log: log) }
      try uuids?.read(item.uuid, .own)
      try uuids?.read(item.receivedUUID, .received)
      let index = try takeOut(entry, &edits)

      try edits.write(in: handle)
      if let index { try DirectoryEntries.deleteIndex(index, in: directory, handle) }
      try RootReferences.delete(parent: directory.id.tree, child: id, in: trees.root, handle)
      try uuids?.remove(id, item.uuid, .own, in: handle)
      try uuids?.remove(id, item.receivedUUID, .received, in: handle)
      try trees.markDeleted(id, in: handle)
      try directory.update(in: handle) { item in
        item.size = item.size.subtractingClamped(UInt64(2 * entry.name.count))
        item.mtime = now
        item.ctime = now
      }
      entry.inode.subvolume.markDeleted()
      return true
    }
    if isDone { deleted = id }
    return isDone
  }
}

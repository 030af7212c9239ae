extension Namespace {
  /// What a name leads to; nil when there is no such name, or it leads nowhere. Needs no lock,
  /// and so may be out of date at once.
  func named(
    _ name: [UInt8], in directory: Inode
  ) throws(FilesystemError) -> NamedInode? {
    guard let location = try DirectoryEntries.find(name, in: directory),
      let inode = try inode(at: location, name, in: directory)
    else { return nil }
    return NamedInode(name: name, directory: directory, location: location, inode: inode)
  }

  /// Whether a name still leads where it did. Its directory is locked.
  func isCurrent(
    _ entry: NamedInode, _ edits: inout ItemEdits
  ) throws(FilesystemError) -> Bool {
    try DirectoryEntries.find(entry.name, in: entry.directory, &edits) == entry.location
  }

  /// Prepares taking a name out of its directory and its inode. Returns its index, if it has one.
  func takeOut(
    _ entry: NamedInode, _ edits: inout ItemEdits
  ) throws(FilesystemError) -> UInt64? {
    try DirectoryEntries.removeItem(entry.name, in: entry.directory, &edits)
    if entry.inode.isStub {
      return try DirectoryEntries.searchIndex(of: entry.name, in: entry.directory)
    }
    guard !entry.isSubvolume else {
      let reference = try RootReferences.find(
        parent: entry.directory.id.tree, child: entry.inode.id.tree, in: trees.root)
      guard let reference else {
        throw .corrupt("subvolume \(entry.inode.id.tree) has no reference to its place")
      }
      // An index that is not the name's own would delete another entry.
      let (index, directory) = (reference.index, entry.directory)
      if try DirectoryEntries.isName(entry.name, at: index, in: directory) { return index }
      return try DirectoryEntries.searchIndex(of: entry.name, in: directory)
    }

    let index = try InodeReferences.remove(
      entry.name, of: entry.inode, in: entry.directory.number, &edits)
    guard let index else {
      throw .corrupt("inode \(entry.inode.id) has no reference to its name")
    }
    return index
  }

  /// Prepares a new name for what was taken out. Throws `.overflow` or `.tooManyLinks` when there
  /// is no room for it.
  func put(
    _ entry: NamedInode, _ name: [UInt8], in directory: Inode, index: UInt64,
    generation: Generation, _ edits: inout ItemEdits
  ) throws(FilesystemError) {
    try DirectoryEntries.addItem(
      name, entry.location, in: directory, generation: generation, &edits)
    if !entry.isSubvolume {
      try InodeReferences.add(
        name, of: entry.inode, in: directory.number, index: index, &edits)
    }
  }

  /// Writes what of a new name is not in the edits, and that its inode has changed.
  func finish(
    _ entry: NamedInode, _ name: [UInt8], in directory: Inode, index: UInt64, _ now: Timestamp,
    _ handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    try DirectoryEntries.insertIndex(
      name, entry.location, in: directory, index: index, handle)
    DirectoryEntries.didUseIndices(1, of: directory)
    if !entry.inode.subvolume.isReadOnly {
      try entry.inode.update(in: handle) { $0.ctime = now }
    }
  }

  /// Notes that an inode has one name less; one without any becomes an orphan.
  func dropName(
    of inode: Inode, _ now: Timestamp, _ handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    guard !inode.isStub else { return }
    let isLast = inode.isDirectory || inode.attributes.linkCount <= 1
    if isLast {
      try OrphanItems.add(inode, handle)
      inodes.withHolders(of: inode) { inode.isOrphan = true }
    }
    try inode.update(in: handle) { item in
      item.linkCount = isLast ? 0 : item.linkCount - 1
      if isLast && inode.isDirectory { item.size = 0 }
      item.ctime = now
    }
  }
}

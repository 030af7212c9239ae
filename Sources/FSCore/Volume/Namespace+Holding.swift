/// What keeps an inode that has no name any more.
extension Namespace {
  /// Keeps an inode, without a name too, until as many calls of `release`. Throws when its flags
  /// or the subvolume forbid opening it so.
  package func open(
    _ id: InodeID, forWriting: Bool = false, appending: Bool = false
  ) throws(FilesystemError) {
    let inode = try inodes.inode(id)
    if forWriting {
      try attributes.requireWritable(inode)
      try inode.requireFlagsAllow(unless: appending ? .immutable : [.immutable, .append])
    }
    inodes.withHolders(of: inode) { inode.openCount += 1 }
    guard inode.isDeleted else { return }
    inodes.withHolders(of: inode) { inode.openCount -= 1 }
    throw .stale
  }

  /// How many calls of `open` are not yet followed by one of `release`.
  package func openCount(of id: InodeID) -> Int {
    guard let inode = inodes.loaded(id) else { return 0 }
    return inodes.withHolders(of: inode) { inode.openCount }
  }

  package func release(_ id: InodeID) {
    guard let inode = inodes.loaded(id) else { return }
    inodes.withHolders(of: inode) {
      assert(inode.openCount > 0)
      inode.openCount -= 1
    }
    orphans.removeIfUnheld(inode)
    if inode.subvolume.isDeleted { cleaner.lookAgain() }
  }

  /// The kernel is about to be given a reference to an inode. One without a name is kept until
  /// `forget` has given all of them back.
  package func noteLookup(_ id: InodeID) { inodes.lookups.add(id) }

  /// An inode to which the kernel holds a reference is opened. Says whether it is the first time
  /// since the kernel was given one: it then has nothing of the content in its memory.
  package func noteOpen(_ id: InodeID) -> Bool { inodes.lookups.noteOpen(id) }

  /// The kernel has given back `lookups` of its references to an inode.
  package func forget(_ id: InodeID, lookups: UInt64) {
    guard inodes.lookups.remove(id, lookups: lookups) else { return }
    if let inode = inodes.loaded(id) { orphans.removeIfUnheld(inode) }
  }
}

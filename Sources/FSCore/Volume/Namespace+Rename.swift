package struct RenameFlags: OptionSet, Sendable {
  package let rawValue: UInt32
  package init(rawValue: UInt32) { self.rawValue = rawValue }

  /// Fails where the new name is there.
  package static let noReplace = Self(rawValue: 1)
  /// Both names are there, and trade places.
  package static let exchange = Self(rawValue: 2)
  /// The old name is left to a new character device 0:0. Overlayfs's upper layer says so that a
  /// name below it is gone.
  package static let whiteout = Self(rawValue: 4)
}

/// What a rename is about to do; all of its inodes are locked while it is carried out.
private struct Renaming {
  let source: NamedInode
  let target: NamedInode?
  let newName: [UInt8]
  let newDirectory: Inode

  var oldDirectory: Inode { source.directory }
  var inodes: [Inode] {
    var inodes = [oldDirectory, newDirectory, source.inode]
    if let target { inodes.append(target.inode) }
    return inodes
  }
}

extension Namespace {
  /// Moves a name, replacing what has the new name, or exchanges two names.
  ///
  /// - Parameter credentials: the owner of a new inode in the old place.
  package func rename(
    _ oldName: [UInt8], in oldDirectory: InodeID, to newName: [UInt8],
    in newDirectory: InodeID, flags: RenameFlags = [],
    _ credentials: Credentials = Credentials(uid: 0, gid: 0)
  ) throws(FilesystemError) {
    try requireName(oldName)
    try requireName(newName)
    guard flags.isSubset(of: [.noReplace, .exchange, .whiteout]),
      !flags.contains(.exchange) || flags == .exchange
    else {
      throw .invalidArgument("flags of a rename that do not go together")
    }
    if Self.isDots(oldName) { throw .busy("a directory's own name cannot be moved") }
    if Self.isDots(newName) {
      if flags.contains(.noReplace) { throw .exists }
      throw .busy("a directory's own name cannot be replaced")
    }
    let oldDirectory = try inodes.inode(oldDirectory)
    let newDirectory = try inodes.inode(newDirectory)
    guard oldDirectory.isDirectory, newDirectory.isDirectory else { throw .notDirectory }

    for _ in 0..<Self.attempts {
      guard let source = try named(oldName, in: oldDirectory) else { throw .notFound }
      let renaming = Renaming(
        source: source, target: try named(newName, in: newDirectory), newName: newName,
        newDirectory: newDirectory)
      if try rename(renaming, flags, credentials) { return }
      if oldDirectory.isDeleted || newDirectory.isDeleted { throw .stale }
    }
    throw .busy("the names keep changing")
  }

  /// Returns false when the names lead elsewhere by now.
  private func rename(
    _ renaming: Renaming, _ flags: RenameFlags, _ credentials: Credentials
  ) throws(FilesystemError) -> Bool {
    let (source, target) = (renaming.source, renaming.target)
    if flags.contains(.noReplace), target != nil { throw .exists }
    if flags.contains(.exchange), target == nil { throw .notFound }

    // While it is held no directory gets other ancestors, so that what is looked up stays true.
    let movesDirectory =
      source.inode.isDirectory || flags.contains(.exchange) && target?.inode.isDirectory == true
    let isAcross = renaming.oldDirectory !== renaming.newDirectory
    if movesDirectory && isAcross { inodes.renames.lockExclusive() }
    defer { if movesDirectory && isAcross { inodes.renames.unlock() } }

    if isAcross { try requireNoLoop(renaming, flags) }
    if let target, target.inode === source.inode { return true }
    try attributes.requireWritable(renaming.oldDirectory)
    try attributes.requireWritable(renaming.newDirectory)
    // A directory itself says where it stands, so a read-only subvolume stays in its directory.
    if isAcross, source.isSubvolume { try attributes.requireWritable(source.inode) }
    if isAcross, flags.contains(.exchange), let target, target.isSubvolume {
      try attributes.requireWritable(target.inode)
    }

    let done = try InodeTable.exclusivelyIfThere(renaming.inodes) {
      () throws(FilesystemError) in
      try requireAllowed(renaming, flags)
      if flags.contains(.exchange) { return try exchange(source, target.unsafelyUnwrapped) }
      guard flags.contains(.whiteout) else { return try move(renaming) }
      let whiteout = try prepare(
        NewNode(mode: 0o020000), in: renaming.oldDirectory, credentials)
      // All inodes are of one subvolume, and of these its number is the highest.
      return try InodeTable.exclusively(whiteout.inode) { () throws(FilesystemError) in
        try move(renaming, leaving: whiteout)
      }
    }
    if done == true, !flags.contains(.exchange), let target { orphans.removeIfUnheld(target.inode) }
    return done == true
  }

  private func requireNoLoop(
    _ renaming: Renaming, _ flags: RenameFlags
  ) throws(FilesystemError) {
    if renaming.source.inode.isDirectory,
      try isAncestor(renaming.source.inode.id, of: renaming.newDirectory)
    {
      throw .wouldLoop
    }
    if let target = renaming.target, target.inode.isDirectory,
      try isAncestor(target.inode.id, of: renaming.oldDirectory)
    {
      throw flags.contains(.exchange) ? .wouldLoop : .notEmpty
    }
  }

  /// Whether `directory` is `ancestor` or stands below it.
  private func isAncestor(
    _ ancestor: InodeID, of directory: Inode
  ) throws(FilesystemError) -> Bool {
    var current = directory
    // Longer chains than this are loops in a damaged image.
    for _ in 0..<65536 {
      if current.id == ancestor { return true }
      let next = try parent(of: current)
      if next == current.id { return false }
      current = try inodes.inode(next)
    }
    throw .corrupt("directory \(directory.id) is its own ancestor")
  }

  /// What Linux checks, in its order; all inodes are locked.
  private func requireAllowed(
    _ renaming: Renaming, _ flags: RenameFlags
  ) throws(FilesystemError) {
    let (source, target) = (renaming.source, renaming.target)
    let (old, new) = (renaming.oldDirectory, renaming.newDirectory)
    let isExchange = flags.contains(.exchange)
    try old.requireRoomForNames()
    try new.requireRoomForNames()
    let all: InodeFlags = [.immutable, .append]
    try old.requireFlagsAllow(unless: all)
    try source.inode.requireFlagsAllow(unless: all)
    try new.requireFlagsAllow(unless: target == nil ? .immutable : all)
    if let target {
      try target.inode.requireFlagsAllow(unless: all)
      if !isExchange, source.inode.isDirectory != target.inode.isDirectory {
        throw source.inode.isDirectory ? .notDirectory : .isDirectory
      }
    }

    // Of what a subvolume holds only another subvolume can leave it.
    if old.id.tree != new.id.tree {
      guard source.isSubvolume, !isExchange || target?.isSubvolume == true else {
        throw .crossSubvolume
      }
    }
    if source.inode.isStub { throw .notEmpty }
    if flags.contains(.whiteout), source.isSubvolume {
      throw .invalidArgument("a subvolume's place is not left to a whiteout")
    }
    guard let target else { return }
    if isExchange {
      if target.inode.isStub { throw .notFound }
    } else {
      if target.isSubvolume { throw .notEmpty }
      if target.inode.isDirectory { try requireEmpty(target.inode) }
    }
  }

  // Carrying it out.

  private func move(
    _ renaming: Renaming, leaving whiteout: PreparedNode? = nil
  ) throws(FilesystemError) -> Bool {
    let (source, target, name) = (renaming.source, renaming.target, renaming.newName)
    let (old, new) = (renaming.oldDirectory, renaming.newDirectory)
    let newIndex = try DirectoryEntries.nextIndex(of: new)
    let whiteoutIndex = old === new ? newIndex + 1 : try DirectoryEntries.nextIndex(of: old)
    let now = Timestamp.now

    return try transactions.perform(
      reserving: 15 + (whiteout?.itemCount ?? 0),
      useGlobalReserve: target != nil && whiteout == nil
    ) {
      (handle: borrowing TransactionHandle) throws(FilesystemError) in
      var edits = ItemEdits()
      guard try isCurrent(source, &edits),
        try DirectoryEntries.find(name, in: new, &edits) == target?.location
      else { return false }
      if source.isSubvolume, new.subvolume.isDeleted { throw .notFound }

      let oldIndex = try takeOut(source, &edits)
      var targetIndex: UInt64?
      if let target { targetIndex = try takeOut(target, &edits) }
      try put(source, name, in: new, index: newIndex, generation: handle.generation, &edits)

      try edits.write(in: handle)
      if let oldIndex { try DirectoryEntries.deleteIndex(oldIndex, in: old, handle) }
      if let targetIndex { try DirectoryEntries.deleteIndex(targetIndex, in: new, handle) }
      try finish(source, name, in: new, index: newIndex, now, handle)
      if source.isSubvolume {
        try deleteRootReference(of: source, handle)
        try insertRootReference(of: source, name, in: new, index: newIndex, handle)
      }
      if let target { try dropName(of: target.inode, now, handle) }
      if let whiteout { try insert(whiteout, source.name, in: old, index: whiteoutIndex, handle) }

      try old.update(in: handle) { item in
        if whiteout == nil {
          item.size = item.size.subtractingClamped(UInt64(2 * source.name.count))
        }
        item.mtime = now
        item.ctime = now
      }
      if target == nil || new !== old {
        try new.update(in: handle) { item in
          if target == nil { item.size &+= UInt64(2 * name.count) }
          item.mtime = now
          item.ctime = now
        }
      }
      return true
    }
  }

  private func exchange(
    _ a: NamedInode, _ b: NamedInode
  ) throws(FilesystemError) -> Bool {
    let isAcross = a.directory !== b.directory
    let aIndex = try DirectoryEntries.nextIndex(of: b.directory)
    let bIndex = isAcross ? try DirectoryEntries.nextIndex(of: a.directory) : aIndex + 1
    let now = Timestamp.now

    return try transactions.perform(reserving: 20) {
      (handle: borrowing TransactionHandle) throws(FilesystemError) in
      var edits = ItemEdits()
      guard try isCurrent(a, &edits), try isCurrent(b, &edits) else { return false }
      if a.isSubvolume, b.directory.subvolume.isDeleted { throw .notFound }
      if b.isSubvolume, a.directory.subvolume.isDeleted { throw .notFound }

      let oldAIndex = try takeOut(a, &edits)
      let oldBIndex = try takeOut(b, &edits)
      let generation = handle.generation
      try put(a, b.name, in: b.directory, index: aIndex, generation: generation, &edits)
      try put(b, a.name, in: a.directory, index: bIndex, generation: generation, &edits)

      try edits.write(in: handle)
      if let oldAIndex { try DirectoryEntries.deleteIndex(oldAIndex, in: a.directory, handle) }
      if let oldBIndex { try DirectoryEntries.deleteIndex(oldBIndex, in: b.directory, handle) }
      try finish(a, b.name, in: b.directory, index: aIndex, now, handle)
      try finish(b, a.name, in: a.directory, index: bIndex, now, handle)
      try exchangeRootReferences(a, index: aIndex, b, index: bIndex, handle)

      // Each directory keeps its names, and so its size.
      for directory in isAcross ? [a.directory, b.directory] : [a.directory] {
        try directory.update(in: handle) { item in
          item.mtime = now
          item.ctime = now
        }
      }
      return true
    }
  }

  private func exchangeRootReferences(
    _ a: NamedInode, index aIndex: UInt64, _ b: NamedInode, index bIndex: UInt64,
    _ handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    if a.isSubvolume { try deleteRootReference(of: a, handle) }
    if b.isSubvolume { try deleteRootReference(of: b, handle) }
    if a.isSubvolume {
      try insertRootReference(of: a, b.name, in: b.directory, index: aIndex, handle)
    }
    if b.isSubvolume {
      try insertRootReference(of: b, a.name, in: a.directory, index: bIndex, handle)
    }
  }

  private func deleteRootReference(
    of entry: NamedInode, _ handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    try RootReferences.delete(
      parent: entry.directory.id.tree, child: entry.inode.id.tree, in: trees.root, handle)
  }

  private func insertRootReference(
    of entry: NamedInode, _ name: [UInt8], in directory: Inode, index: UInt64,
    _ handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    try RootReferences.insert(
      entry.inode.id.tree, name, in: directory.id, index: index, trees.root, handle)
  }
}

/// The flags of chattr(1). What each forbids stands with the operations that it forbids.
extension AttributeOperations {
  package func flags(of id: InodeID) throws(FilesystemError) -> FileFlags {
    FileFlags(try inodes.inode(id).attributes.flags)
  }

  /// Sets the flags of an inode: of those in `scope` it has `wanted` from now on.
  ///
  /// Throws `.unsupported` for flags that nothing here acts on, `.invalidArgument` for those that
  /// contradict each other, and `.notPermitted`.
  ///
  /// - Parameter mayProtect: the caller may set and clear `FileFlags.protecting`.
  package func setFlags(
    _ id: InodeID, _ wanted: FileFlags, among scope: FileFlags = .all, mayProtect: Bool
  ) throws(FilesystemError) {
    let inode = try inodes.inode(id)
    try requireWritable(inode)
    if inode.isStub { throw .unsupported("flags of a directory that is not on disk") }
    try InodeTable.exclusively(inode) { () throws(FilesystemError) in
      guard !inode.isDeleted else { throw .stale }
      let old = FileFlags(inode.attributes.flags)
      let new = old.subtracting(scope).union(wanted).restricted(to: inode.type)
      if !mayProtect, !old.symmetricDifference(new).isDisjoint(with: .protecting) {
        throw .notPermitted
      }
      try requireCompatible(new, with: old)
      try apply(new, to: inode)
    }
  }

  /// What Linux checks, in its order.
  private func requireCompatible(
    _ new: FileFlags, with old: FileFlags
  ) throws(FilesystemError) {
    guard new.isSubset(of: .all) else { throw .unsupported("btrfs has no such flag") }
    if new.contains(.compress), !new.isDisjoint(with: [.noCompress, .noDataCow]) {
      throw .invalidArgument("compression and a flag that forbids it")
    }
    let compression: FileFlags = [.compress, .noCompress]
    for (one, other) in [(old, new), (new, old)] where one.contains(.noDataCow) {
      guard other.isDisjoint(with: compression) else {
        throw .invalidArgument("what is written in place is not compressed")
      }
    }
  }

  /// The inode is locked.
  private func apply(_ flags: FileFlags, to inode: Inode) throws(FilesystemError) {
    // It says how to compress. As with Linux each change of flags says it anew.
    let property = ExtendedAttributes.compressionProperty
    let value = try ExtendedAttributes.value(of: property, inode, isLocked: true)
    let algorithm = flags.contains(.compress) ? usualCompression : nil
    let isChanged = value != algorithm.map { Array($0.name.utf8) }
    let now = Timestamp.now
    try transactions.perform(reserving: isChanged ? 3 : 1) {
      (handle: borrowing TransactionHandle) throws(FilesystemError) in
      if isChanged {
        var edits = ItemEdits()
        if let algorithm {
          try ExtendedAttributes.set(
            property, to: Array(algorithm.name.utf8), of: inode, generation: handle.generation,
            &edits)
          ExtendedAttributes.noteSome(inode)
          features.note(algorithm)
        } else {
          try ExtendedAttributes.remove(property, of: inode, &edits)
        }
        try edits.write(in: handle)
      }
      try inode.update(in: handle) { item in
        item.flags = flags.applied(to: item.flags, type: inode.type, isEmpty: item.size == 0)
        item.ctime = now
      }
    }
  }
}

extension SubvolumeOperations {
  /// All subvolumes.
  package func list() throws(FilesystemError) -> SubvolumeListing {
    let list = SubvolumeList(trees)
    if namespace.attributes.isReadOnly { return try list.listing() }
    // Root items say what the last commit has.
    try committer.commit()
    let listing = try list.listing()
    if listing.problems.isEmpty { return listing }
    // A rename takes a subvolume, or a directory on the way to one, out of one place before it is in the
    // other: what is damaged is seen while nobody else changes anything.
    do throws(FilesystemError) {
      return try transactions.performAlone(reserving: 1, for: .freeing) {
        (_) throws(FilesystemError) in
        try list.listing()
      }
    } catch .noSpace {
      return listing
    }
  }

  /// One subvolume, with its path; nil when it is not there, or deleted.
  package func record(of id: TreeID) throws(FilesystemError) -> SubvolumeRecord? {
    let list = SubvolumeList(trees)
    guard var record = try list.record(of: id) else { return nil }
    record.path = try list.path(of: record)
    return record
  }

  /// The subvolume that is mounted when none is named.
  package func defaultSubvolume() throws(FilesystemError) -> TreeID {
    try DefaultSubvolume.find(in: trees.root) ?? .topLevel
  }

  /// Lets a subvolume be mounted when none is named, and returns when that is durable. Throws `.notFound`
  /// for what is no subvolume: nobody could mount the image any more.
  package func setDefault(_ id: TreeID) throws(FilesystemError) {
    try requireWritableVolume()
    _ = try rootItem(of: id)
    // Alone: it may not be deleted in the same moment.
    try transactions.performAlone(reserving: 3) { (handle) throws(FilesystemError) in
      _ = try rootItem(of: id)
      try DefaultSubvolume.set(id, in: trees.root, handle)
      trees.noteNewDefault()
    }
    try committer.commit()
  }

  /// Makes a subvolume read-only, or writable again, and returns when that is durable. What was written
  /// before is in it, and nothing that is written afterwards.
  ///
  /// Throws `.refused` where a received subvolume is to become writable, unless that is forced: it then
  /// is no longer known as received.
  package func setReadOnly(
    _ isReadOnly: Bool, of root: InodeID, isForced: Bool = false
  ) throws(FilesystemError) {
    try requireWritableVolume()
    let subvolume = try inodes.subvolume(requireRoot(root))
    let id = subvolume.id
    let item = try rootItem(of: id)
    guard item.isReadOnly != isReadOnly else { return }
    let wasReceived = item.receivedUUID != .zero
    if !isReadOnly, wasReceived, !isForced {
      throw .refused(
        "a received subvolume is not made writable: a later receive would go wrong; take a snapshot "
          + "of it, or use --force, after which it is no longer known as received")
    }
    if !isReadOnly { try uuids?.read(item.receivedUUID, .received) }
    // From here on nobody begins to change it; what was accepted is written.
    if isReadOnly { subvolume.setReadOnly(true) }
    do throws(FilesystemError) {
      try files.flush(id)
      try transactions.performAlone(reserving: 4) { (handle) throws(FilesystemError) in
        let item = try rootItem(of: id)
        if !isReadOnly {
          try uuids?.remove(id, item.receivedUUID, .received, in: handle)
        }
        let generation = handle.generation
        try trees.modifyRootItem(of: id, in: handle) { item in
          item.markFlagsAsValid()
          item.isReadOnly = isReadOnly
          if !isReadOnly, wasReceived { item.disownReceived(in: generation, at: .now) }
        }
      }
    } catch {
      subvolume.setReadOnly(item.isReadOnly)
      throw error
    }
    try committer.commit()
    subvolume.setReadOnly(isReadOnly)
  }

  private func requireWritableVolume() throws(FilesystemError) {
    if namespace.attributes.isReadOnly {
      throw .readOnly("the file system is mounted read-only")
    }
    if let refusal = transactions.refusal { throw refusal }
  }
}

/// What btrfs's own ioctls ask.
extension SubvolumeOperations {
  /// Subvolumes that stand in this one, from a number on, and the directories in which they do; at most
  /// `limit`.
  package func children(
    of id: TreeID, from first: TreeID, atMost limit: Int
  ) throws(FilesystemError) -> [(child: TreeID, directory: ObjectID)] {
    var found: [(child: TreeID, directory: ObjectID)] = []
    guard limit > 0 else { return found }
    try trees.root.forEach(
      from: Key(id.objectID, .rootRef, first.rawValue), through: Key(id.objectID, .rootRef, .max)
    ) { (key, bytes) throws(FilesystemError) in
      let child = TreeID(key.offset)
      // An image may say anything.
      guard child.isSubvolume else { return true }
      found.append((child, try RootReference(bytes).directory))
      return found.count < limit
    }
    return found
  }

  package func isReadOnly(_ id: TreeID) throws(FilesystemError) -> Bool {
    try inodes.subvolume(id).isReadOnly
  }

  /// The path of a file or directory from the root of its subvolume, by one of its names. Throws
  /// `.notFound` where there is none.
  package func path(of number: ObjectID, in id: TreeID) throws(FilesystemError) -> [UInt8] {
    guard id.isSubvolume, try trees.rootItem(of: id) != nil,
      let path = try SubvolumeList(trees).path(of: number, in: id)
    else { throw .notFound }
    return path
  }

  /// Deletes a subvolume by its number. Returns the directory in which it stood, and its name there.
  package func delete(_ id: TreeID) throws(FilesystemError) -> (directory: InodeID, name: [UInt8]) {
    for _ in 0..<Namespace.attempts {
      let (directory, name) = try place(of: id)
      if try delete(name, in: directory, expected: id) { return (directory, name) }
    }
    throw .busy("the subvolume's name keeps changing")
  }

  /// Where a subvolume stands, and its name there. Throws `.notFound` where it stands nowhere.
  private func place(
    of id: TreeID
  ) throws(FilesystemError) -> (directory: InodeID, name: [UInt8]) {
    if let found = try recordedPlace(of: id) { return found }
    // A rename takes it out of one place before it is in the other.
    let found = try transactions.performAlone(reserving: 1) { (_) throws(FilesystemError) in
      try recordedPlace(of: id)
    }
    guard let found else { throw .notFound }
    return found
  }

  private func recordedPlace(
    of id: TreeID
  ) throws(FilesystemError) -> (directory: InodeID, name: [UInt8])? {
    guard let record = try SubvolumeList(trees).record(of: id), let parent = record.parent,
      let number = record.directory
    else { return nil }
    return (InodeID(tree: parent, number: number), record.name)
  }
}

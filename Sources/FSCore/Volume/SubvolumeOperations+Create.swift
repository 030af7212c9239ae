import Logging

/// The name that a new subvolume gets. Its directory is locked.
private struct SubvolumePlace {
  let name: [UInt8]
  let directory: Inode
  let index: UInt64
  /// The new subvolume's.
  let uuid: UUIDBytes
  let now: Timestamp
}

extension SubvolumeOperations {
  /// Items of a new subvolume, those of its root directory aside.
  private static let itemCount = 10

  /// Makes an empty subvolume.
  ///
  /// - Parameter mode: permissions of its root directory, before umask and access control lists.
  package func create(
    _ name: [UInt8], in directory: InodeID, mode: UInt32 = 0o777, _ credentials: Credentials
  ) throws(FilesystemError) -> Attributes {
    try namespace.requireNewName(name)
    let directory = try inodes.inode(directory)
    try namespace.attributes.requireWritable(directory)
    let property = try namespace.inheritedProperty(in: directory.subvolume)
    let id = try InodeTable.exclusively(directory) { () throws(FilesystemError) in
      let place = try place(name, in: directory)
      let root = try namespace.prepareRoot(
        in: directory, mode: mode, property: property, credentials)
      return try transactions.performAlone(reserving: Self.itemCount + root.itemCount) {
        (handle) throws(FilesystemError) in
        let id = try trees.newSubvolumeID()
        let edits = try edits(for: place, id, offset: 0, handle)
        try uuids?.read(place.uuid, .own)

        let tree = try trees.createSubvolume(id, uuid: place.uuid, now: place.now, in: handle)
        try namespace.insertRoot(
          root, of: Subvolume(tree: tree, geometry: namespace.geometry, isReadOnly: false), handle)
        try uuids?.add(id, place.uuid, .own, in: handle)
        try insert(place, id, offset: 0, edits, handle)
        return id
      }
    }
    return try namespace.attributes.attributes(of: InodeID(tree: id, number: .firstFree))
  }

  /// Makes a snapshot of the subvolume whose root directory `source` is, and returns when it is
  /// durable. Nested subvolumes are empty directories in it. None is made, and the error thrown, when
  /// what is buffered of the source could not be written.
  package func snapshot(
    of source: InodeID, _ name: [UInt8], in directory: InodeID, isReadOnly: Bool = false
  ) throws(FilesystemError) -> Attributes {
    try namespace.requireNewName(name)
    let source = try inodes.subvolume(requireRoot(source))
    _ = try rootItem(of: source.id)
    let directory = try inodes.inode(directory)
    try namespace.attributes.requireWritable(directory)

    let id = try source.inPlace.closed(
      flush: { () throws(FilesystemError) in try files.flush(source.id) }
    ) { () throws(FilesystemError) in
      try InodeTable.exclusively(directory) { () throws(FilesystemError) in
        try take(of: source, place(name, in: directory), isReadOnly)
      }
    }
    try committer.commit()
    // Files that had no name, but were open. The snapshot is there whatever comes of this, and the
    // next mount goes on with them.
    do throws(FilesystemError) {
      try namespace.orphans.clean(in: id)
    } catch {
      log.warning("snapshot \(id): files without a name could not be deleted: \(error)")
    }
    return try namespace.attributes.attributes(of: InodeID(tree: id, number: .firstFree))
  }

  /// The directory is locked, and nothing of the source is being written in place.
  private func take(
    of source: Subvolume, _ place: SubvolumePlace, _ isReadOnly: Bool
  ) throws(FilesystemError) -> TreeID {
    // Each thing that the root block names gets a reference. What is reserved for an item is kept
    // for as many references as it has blocks, three at least.
    let references = source.tree.rootCount / 3 + 1
    return try transactions.performAlone(reserving: Self.itemCount + 2 + references) {
      (handle) throws(FilesystemError) in
      let id = try trees.newSubvolumeID()
      let edits = try edits(for: place, id, offset: .max, handle)
      // It may be gone by now.
      let sourceItem = try rootItem(of: source.id)
      try uuids?.read(place.uuid, .own)
      try uuids?.read(sourceItem.receivedUUID, .received)

      let (_, item) = try trees.createSnapshot(
        id, of: source.id, uuid: place.uuid, isReadOnly: isReadOnly, now: place.now, in: handle)
      try uuids?.add(id, place.uuid, .own, in: handle)
      try uuids?.add(id, item.receivedUUID, .received, in: handle)
      // Of its own directory the snapshot does not have the new name.
      try insert(place, id, offset: .max, edits, handle)
      return id
    }
  }

  /// Checks that a name can be made, and reads what that needs.
  private func place(
    _ name: [UInt8], in directory: Inode
  ) throws(FilesystemError) -> SubvolumePlace {
    try directory.requireRoomForNames()
    try directory.requireFlagsAllow()
    if directory.subvolume.isDeleted { throw .notFound }
    if try DirectoryEntries.find(name, in: directory) != nil { throw .exists }
    _ = try trees.newSubvolumeID()
    _ = try trees.root.contains(Key(directory.id.tree.objectID, .rootRef, .max))
    let uuid = UUIDBytes.random()
    try uuids?.read(uuid, .own)
    return SubvolumePlace(
      name: name, directory: directory, index: try DirectoryEntries.nextIndex(of: directory),
      uuid: uuid, now: .now)
  }

  private func location(_ id: TreeID, _ offset: UInt64) -> DirectoryEntries.Location {
    DirectoryEntries.Location(key: Key(id.objectID, .rootItem, offset), type: .directory)
  }

  /// The new name's DIR_ITEM, prepared.
  private func edits(
    for place: SubvolumePlace, _ id: TreeID, offset: UInt64, _ handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> ItemEdits {
    var edits = ItemEdits()
    if place.directory.subvolume.isDeleted { throw .notFound }
    guard try DirectoryEntries.find(place.name, in: place.directory, &edits) == nil else {
      throw .exists
    }
    try DirectoryEntries.addItem(
      place.name, location(id, offset), in: place.directory, generation: handle.generation, &edits)
    return edits
  }

  /// Makes the name, and what says where it is.
  private func insert(
    _ place: SubvolumePlace, _ id: TreeID, offset: UInt64, _ edits: ItemEdits,
    _ handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let (name, directory, now) = (place.name, place.directory, place.now)
    try edits.write(in: handle)
    try DirectoryEntries.insertIndex(
      name, location(id, offset), in: directory, index: place.index, handle)
    DirectoryEntries.didUseIndices(1, of: directory)
    try RootReferences.insert(id, name, in: directory.id, index: place.index, trees.root, handle)
    try directory.update(in: handle) { item in
      item.size &+= UInt64(2 * name.count)
      item.mtime = now
      item.ctime = now
    }
  }
}

extension Namespace {
  /// Gives an inode that is no directory another name.
  package func link(
    _ id: InodeID, _ name: [UInt8], in directory: InodeID
  ) throws(FilesystemError) -> Attributes {
    try requireNewName(name)
    let directory = try inodes.inode(directory)
    let inode = try inodes.inode(id)
    try attributes.requireWritable(directory)
    guard !inode.isDirectory else { throw .notPermitted }
    guard !directory.isStub else { throw .notPermitted }
    guard id.tree == directory.id.tree else { throw .crossSubvolume }

    try InodeTable.exclusively([directory, inode]) { () throws(FilesystemError) in
      try directory.requireRoomForNames()
      try directory.requireFlagsAllow()
      try inode.requireFlagsAllow(unless: [.immutable, .append])
      let linkCount = inode.attributes.linkCount
      guard linkCount > 0 else { throw .notFound }
      guard linkCount < Format.maximumLinkCount else { throw .tooManyLinks }
      let index = try DirectoryEntries.nextIndex(of: directory)
      let now = Timestamp.now

      try transactions.perform(reserving: 5) {
        (handle: borrowing TransactionHandle) throws(FilesystemError) in
        // A name that is there is the answer even when the reference would not fit.
        var edits = ItemEdits()
        guard try DirectoryEntries.find(name, in: directory, &edits) == nil else { throw .exists }
        let location = DirectoryEntries.Location(key: inode.itemKey, type: inode.type)
        try DirectoryEntries.addItem(
          name, location, in: directory, generation: handle.generation, &edits)
        try InodeReferences.add(name, of: inode, in: directory.number, index: index, &edits)

        try edits.write(in: handle)
        try DirectoryEntries.insertIndex(name, location, in: directory, index: index, handle)
        DirectoryEntries.didUseIndices(1, of: directory)
        try inode.update(in: handle) { item in
          item.linkCount += 1
          item.ctime = now
        }
        try directory.update(in: handle) { item in
          item.size &+= UInt64(2 * name.count)
          item.mtime = now
          item.ctime = now
        }
      }
    }
    return attributes.attributes(of: inode)
  }

  package func unlink(_ name: [UInt8], in directory: InodeID) throws(FilesystemError) {
    guard !Self.isDots(name) else { throw .isDirectory }
    try remove(name, in: directory, isDirectory: false)
  }

  package func removeDirectory(_ name: [UInt8], in directory: InodeID) throws(FilesystemError) {
    guard !Self.isDots(name) else {
      if name.count == 1 { throw .invalidArgument("a directory cannot remove itself") }
      throw .notEmpty
    }
    try remove(name, in: directory, isDirectory: true)
  }

  private func remove(
    _ name: [UInt8], in directory: InodeID, isDirectory: Bool
  ) throws(FilesystemError) {
    try requireName(name)
    let directory = try inodes.inode(directory)
    guard directory.isDirectory else { throw .notDirectory }

    for _ in 0..<Self.attempts {
      guard let entry = try named(name, in: directory) else { throw .notFound }
      let inode = entry.inode
      guard inode.isDirectory == isDirectory else {
        throw isDirectory ? .notDirectory : .isDirectory
      }
      try attributes.requireWritable(directory)

      let isDone = try InodeTable.exclusivelyIfThere([directory, inode]) {
        () throws(FilesystemError) in
        try directory.requireLiveDirectory()
        try directory.requireFlagsAllow(unless: [.immutable, .append])
        try inode.requireFlagsAllow(unless: [.immutable, .append])
        if isDirectory { try requireEmpty(inode) }
        return entry.isSubvolume ? try deleteSubvolume(entry) : try remove(entry)
      }
      if isDone == true {
        if entry.isSubvolume { return }
        return orphans.removeIfUnheld(inode)
      }
      if directory.isDeleted { throw .stale }
    }
    throw .busy("the name keeps changing")
  }

  func requireEmpty(_ directory: Inode) throws(FilesystemError) {
    guard !directory.isStub else { return }
    guard directory.attributes.size == 0 else { throw .notEmpty }
    // The size of a damaged directory may say less than is there.
    let hasEntry = try directory.tree.findFirst(
      atLeast: Key(directory.number, .dirItem, 0)
    ) { (key, _) in
      key.objectID == directory.number && (key.type == .dirItem || key.type == .dirIndex)
    }
    if hasEntry == true { throw .notEmpty }
  }

  /// Removes a name; its directory and its inode are locked. Returns false when it leads
  /// elsewhere by now.
  private func remove(_ entry: NamedInode) throws(FilesystemError) -> Bool {
    let now = Timestamp.now
    let directory = entry.directory
    return try transactions.perform(reserving: 6, useGlobalReserve: true) {
      (handle: borrowing TransactionHandle) throws(FilesystemError) in
      var edits = ItemEdits()
      guard try isCurrent(entry, &edits) else { return false }
      let index = try takeOut(entry, &edits)

      try edits.write(in: handle)
      if let index { try DirectoryEntries.deleteIndex(index, in: directory, handle) }
      try dropName(of: entry.inode, now, handle)
      try directory.update(in: handle) { item in
        item.size = item.size.subtractingClamped(UInt64(2 * entry.name.count))
        item.mtime = now
        item.ctime = now
      }
      return true
    }
  }

  /// What a symbolic link leads to.
  package func readSymbolicLink(_ id: InodeID) throws(FilesystemError) -> [UInt8] {
    let inode = try inodes.inode(id)
    guard inode.type == .symbolicLink else { throw .invalidArgument("not a symbolic link") }
    let target = try inode.tree.find(Key(inode.number, .extentData, 0)) {
      (bytes) throws(FilesystemError) -> [UInt8] in
      let extent = try FileExtentItem(bytes)
      let header = FileExtentItem.inlineHeaderSize
      guard extent.kind == .inline, extent.compression == .none,
        extent.length == UInt64(bytes.byteCount - header)
      else { throw .corrupt("the target of symbolic link \(id)") }
      return bytes.array(header, bytes.byteCount - header)
    }
    guard let target else {
      if inode.isDeleted { throw .stale }
      throw .corrupt("symbolic link \(id) has no target")
    }
    attributes.touchAccessTime(inode)
    return target
  }
}

extension UInt64 {
  /// The difference, or 0: for numbers of a damaged image that should not be so small.
  func subtractingClamped(_ other: UInt64) -> UInt64 { self < other ? 0 : self - other }
}

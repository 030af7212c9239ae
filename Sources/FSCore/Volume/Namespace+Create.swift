/// What a new inode is to be.
struct NewNode {
  /// File type and permissions.
  var mode: UInt32
  var rdev: UInt64 = 0
  /// Of a symbolic link.
  var target: [UInt8] = []

  var isDirectory: Bool { mode & 0o170000 == 0o040000 }
  var isSymbolicLink: Bool { mode & 0o170000 == 0o120000 }
  var isRegular: Bool { mode & 0o170000 == 0o100000 }
}

/// What a new inode takes over from its directory.
private struct Inheritance {
  var mode: UInt32
  var gid: UInt32
  var flags: InodeFlags = []
  var attributes: [(name: [UInt8], value: [UInt8])] = []
}

/// A new inode in memory alone: no tree has it, and no other thread knows of it.
struct PreparedNode {
  let inode: Inode
  fileprivate let node: NewNode
  fileprivate let inheritance: Inheritance

  /// How many items the inode and its name are.
  var itemCount: Int { 5 + inheritance.attributes.count + (node.isSymbolicLink ? 1 : 0) }
}

/// What the root directory of a new subvolume is to be.
struct PreparedRoot {
  fileprivate let node: NewNode
  fileprivate let inheritance: Inheritance
  fileprivate let credentials: Credentials

  /// How many items it is.
  var itemCount: Int { 2 + inheritance.attributes.count }
}

extension Namespace {
  /// Makes a file, device, pipe or socket. `rdev` as the format has it: major << 20 | minor.
  package func createNode(
    _ name: [UInt8], in directory: InodeID, mode: UInt32, rdev: UInt64 = 0,
    _ credentials: Credentials
  ) throws(FilesystemError) -> Attributes {
    var mode = mode
    if mode & 0o170000 == 0 { mode |= 0o100000 }
    guard let type = EntryType(mode: mode) else {
      throw .invalidArgument("no file type: mode \(mode)")
    }
    switch type {
    case .directory, .symbolicLink, .extendedAttribute: throw .notPermitted
    case .characterDevice, .blockDevice:
      return try create(name, in: directory, NewNode(mode: mode, rdev: rdev), credentials)
    case .regular, .fifo, .socket:
      return try create(name, in: directory, NewNode(mode: mode), credentials)
    }
  }

  package func makeDirectory(
    _ name: [UInt8], in directory: InodeID, mode: UInt32, _ credentials: Credentials
  ) throws(FilesystemError) -> Attributes {
    try create(
      name, in: directory, NewNode(mode: 0o040000 | mode & 0o7777), credentials)
  }

  package func makeSymbolicLink(
    _ name: [UInt8], in directory: InodeID, target: [UInt8], _ credentials: Credentials
  ) throws(FilesystemError) -> Attributes {
    guard !target.isEmpty else { throw .notFound }
    // As Linux has it, what cannot be written is said first.
    try attributes.requireWritable(try inodes.inode(directory))
    let longest = min(4095, geometry.maximumItemSize - FileExtentItem.inlineHeaderSize)
    guard target.count <= longest else { throw .nameTooLong }
    return try create(
      name, in: directory, NewNode(mode: 0o120777, target: target), credentials)
  }

  private func create(
    _ name: [UInt8], in directory: InodeID, _ node: NewNode, _ credentials: Credentials
  ) throws(FilesystemError) -> Attributes {
    try requireNewName(name)
    let directory = try inodes.inode(directory)
    try attributes.requireWritable(directory)
    let inode = try InodeTable.exclusively(directory) { () throws(FilesystemError) in
      // Linux refuses in other words where a directory can have no files at all.
      if node.isRegular, directory.isStub { throw .accessDenied }
      try directory.requireRoomForNames()
      try directory.requireFlagsAllow()
      let index = try DirectoryEntries.nextIndex(of: directory)
      let prepared = try prepare(node, in: directory, credentials)

      // A thread that finds the name waits until all of the inode is there. Its number is the highest,
      // so this lock comes after the directory's.
      return try InodeTable.exclusively(prepared.inode) { () throws(FilesystemError) in
        try insert(prepared, name, in: directory, index: index)
        return prepared.inode
      }
    }
    return attributes.attributes(of: inode)
  }

  /// The directory is locked.
  func prepare(
    _ node: NewNode, in directory: Inode, _ credentials: Credentials
  ) throws(FilesystemError) -> PreparedNode {
    let inheritance = try inheritance(from: directory, to: node, credentials)
    let number = try directory.subvolume.newInodeNumber()
    let inode = try newInode(
      InodeID(tree: directory.id.tree, number: number), node, inheritance, credentials,
      directory.subvolume)
    return PreparedNode(inode: inode, node: node, inheritance: inheritance)
  }

  private func newInode(
    _ id: InodeID, _ node: NewNode, _ inheritance: Inheritance, _ credentials: Credentials,
    _ subvolume: Subvolume
  ) throws(FilesystemError) -> Inode {
    var item = InodeItem(
      generation: 0, mode: inheritance.mode, uid: credentials.uid, gid: inheritance.gid,
      now: .now)
    item.rdev = node.rdev
    item.flags = inheritance.flags
    item.size = UInt64(node.target.count)
    item.nbytes = item.size
    let inode = try inodes.make(id, in: subvolume, item)
    if inheritance.attributes.isEmpty { ExtendedAttributes.noteNone(inode) }
    if node.isDirectory {
      inode.nextEntryIndex = DirectoryEntries.firstIndex
      if inheritance.attributes.isEmpty { inode.defaultACL = .known(nil) }
    }
    return inode
  }

  /// Makes a new inode and its name; both inodes are locked.
  private func insert(
    _ prepared: PreparedNode, _ name: [UInt8], in directory: Inode, index: UInt64
  ) throws(FilesystemError) {
    let now = prepared.inode.attributes.otime
    try transactions.perform(reserving: prepared.itemCount) {
      (handle: borrowing TransactionHandle) throws(FilesystemError) in
      try insert(prepared, name, in: directory, index: index, handle)
      try directory.update(in: handle) { item in
        item.size &+= UInt64(2 * name.count)
        item.mtime = now
        item.ctime = now
      }
    }
  }

  /// Makes a new inode and its name, all but what changes of the directory's own item; both
  /// inodes are locked.
  func insert(
    _ prepared: PreparedNode, _ name: [UInt8], in directory: Inode, index: UInt64,
    _ handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let inode = prepared.inode
    let generation = handle.generation
    inode.item.withLock { item in
      item.generation = generation
      item.transactionID = generation
    }

    // Before its name is there: a thread that finds the name must find this object.
    inodes.insert(inode)
    do throws(FilesystemError) {
      try insertItems(
        of: inode, prepared.node, prepared.inheritance, name, in: directory, index: index, handle)
    } catch {
      inodes.remove(inode)
      throw error
    }
  }

  /// Inserts all items of a new inode. Its name goes first: that it is there already is found
  /// out before anything has changed.
  private func insertItems(
    of inode: Inode, _ node: NewNode, _ inheritance: Inheritance, _ name: [UInt8],
    in directory: Inode, index: UInt64, _ handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let location = DirectoryEntries.Location(key: inode.itemKey, type: inode.type)
    try addItem(name, location, in: directory, handle)
    try DirectoryEntries.insertIndex(name, location, in: directory, index: index, handle)
    DirectoryEntries.didUseIndices(1, of: directory)

    try InodeReferences.insertNew(inode, name, in: directory.number, index: index, handle)
    if node.isSymbolicLink { try insertTarget(node.target, of: inode, handle) }

    try insert(inheritance.attributes, of: inode, handle)
  }

  /// Adds the DIR_ITEM of a new name. Throws `.exists`, having changed nothing, when the name is
  /// there.
  func addItem(
    _ name: [UInt8], _ location: DirectoryEntries.Location, in directory: Inode,
    _ handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    do throws(FilesystemError) {
      return try DirectoryEntries.insertItem(name, location, in: directory, handle)
    } catch .exists {
      // This name, or another with the same hash.
    } catch {
      throw error
    }
    var edits = ItemEdits()
    guard try DirectoryEntries.find(name, in: directory, &edits) == nil else { throw .exists }
    try DirectoryEntries.addItem(
      name, location, in: directory, generation: handle.generation, &edits)
    try edits.write(in: handle)
  }

  private func insertTarget(
    _ target: [UInt8], of inode: Inode, _ handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let length = UInt64(target.count)
    let extent = FileExtentItem(
      generation: handle.generation, kind: .inline, diskAddress: 0, diskLength: 0,
      ramBytes: length, offset: 0, length: length)
    let header = FileExtentItem.inlineHeaderSize
    try inode.tree.insert(
      Key(inode.number, .extentData, 0), size: header + target.count, in: handle
    ) { bytes in
      extent.encode(into: bytes)
      bytes.store(target, at: header)
    }
  }

  // The root directory of a new subvolume.

  /// The property that a new subvolume takes over from the one that it stands in, and not from its
  /// directory. No inode is locked.
  func inheritedProperty(in subvolume: Subvolume) throws(FilesystemError) -> [UInt8]? {
    let root = try inodes.inode(InodeID(tree: subvolume.id, number: .firstFree))
    let value = try ExtendedAttributes.value(of: ExtendedAttributes.compressionProperty, root)
    return value.flatMap(Self.inherited)
  }

  /// What a new inode takes over from the property of its directory: the algorithm alone. That
  /// nothing is to be compressed is handed on as a flag.
  private static func inherited(_ property: [UInt8]) -> [UInt8]? {
    guard let algorithm = FileExtentItem.Compression(property: property), algorithm != .none else {
      return nil
    }
    return Array(algorithm.name.utf8)
  }

  /// What the root directory of a new subvolume is to be: as with Linux neither flags nor a group come
  /// from its directory, which is locked.
  func prepareRoot(
    in directory: Inode, mode: UInt32, property: [UInt8]?, _ credentials: Credentials
  ) throws(FilesystemError) -> PreparedRoot {
    let node = NewNode(mode: 0o040000 | mode & 0o7777)
    var inheritance = try inheritance(from: directory, to: node, credentials)
    inheritance.flags = property == nil ? [] : .compress
    inheritance.gid = credentials.gid
    inheritance.mode &= ~0o2000 | mode
    inheritance.attributes.removeAll { $0.name == ExtendedAttributes.compressionProperty }
    if let property {
      inheritance.attributes.append((ExtendedAttributes.compressionProperty, property))
    }
    return PreparedRoot(node: node, inheritance: inheritance, credentials: credentials)
  }

  /// Inserts all items of a root directory into a tree that nobody knows of.
  func insertRoot(
    _ root: PreparedRoot, of subvolume: Subvolume, _ handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    // Whoever looks for it loads it.
    let inode = try newInode(
      InodeID(tree: subvolume.id, number: .firstFree), root.node, root.inheritance,
      root.credentials, subvolume)
    let generation = handle.generation
    inode.item.withLock { item in
      item.generation = generation
      item.transactionID = generation
    }
    try InodeReferences.insertNew(
      inode, [UInt8](repeating: UInt8(ascii: "."), count: 2), in: .firstFree, index: 0, handle)
    try insert(root.inheritance.attributes, of: inode, handle)
  }

  private func insert(
    _ attributes: [(name: [UInt8], value: [UInt8])], of inode: Inode,
    _ handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    guard !attributes.isEmpty else { return }
    var edits = ItemEdits()
    for (name, value) in attributes {
      try ExtendedAttributes.set(
        name, to: value, of: inode, generation: handle.generation, &edits)
    }
    ExtendedAttributes.noteSome(inode)
    try edits.write(in: handle)
  }

  /// The directory is locked.
  private func inheritance(
    from directory: Inode, to node: NewNode, _ credentials: Credentials
  ) throws(FilesystemError) -> Inheritance {
    let parent = directory.attributes
    var result = Inheritance(mode: node.mode, gid: credentials.gid)
    if parent.mode & 0o2000 != 0 {
      result.gid = parent.gid
      if node.isDirectory { result.mode |= 0o2000 }
    }

    if !node.isSymbolicLink {
      let name = AccessControlList.defaultName
      if let bytes = try defaultACL(of: directory), node.isDirectory || !bytes.isEmpty {
        var list = try AccessControlList(bytes)
        result.mode = list.restrict(toMode: result.mode)
        if !list.isEquivalentToMode {
          result.attributes.append((AccessControlList.accessName, list.bytes))
        }
        if node.isDirectory { result.attributes.append((name, bytes)) }
      } else {
        result.mode &= ~(credentials.umask & 0o777)
      }
    }

    let compression = parent.flags.intersection([.compress, .noCompress])
    if !compression.isEmpty {
      result.flags.formUnion(compression.contains(.noCompress) ? .noCompress : .compress)
      let name = ExtendedAttributes.compressionProperty
      if node.isRegular || node.isDirectory,
        let value = try ExtendedAttributes.value(of: name, directory, isLocked: true),
        let inherited = Self.inherited(value)
      {
        result.attributes.append((name, inherited))
      }
    }
    if parent.flags.contains(.noDataCow) {
      result.flags.insert(.noDataCow)
      if node.isRegular { result.flags.insert(.noDataSum) }
    }
    return result
  }

  private func defaultACL(of directory: Inode) throws(FilesystemError) -> [UInt8]? {
    if case .known(let list) = directory.defaultACL { return list }
    let list = try ExtendedAttributes.value(
      of: AccessControlList.defaultName, directory, isLocked: true)
    directory.defaultACL = .known(list)
    return list
  }
}

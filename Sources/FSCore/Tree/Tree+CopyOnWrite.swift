extension Tree {
  /// Makes the blocks on the way to `key` the running transaction's own, so that an item of that
  /// key can be changed in it without a read. Says whether any was copied.
  package func preparePath(
    to key: Key, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    try changing(key) { path throws(FilesystemError) in
      if path.leaf.isWritable { return false }
      try makeWritable(&path, in: handle)
      return true
    }
  }

  /// Makes every block of the path a writable one of the running transaction, from the root down.
  ///
  /// - Parameters:
  ///   - lowest: the level at which the path ends.
  ///   - isMove: the tree will say the same as before.
  func makeWritable(
    _ path: inout TreePath, downTo lowest: Int = 0, isMove: Bool = false,
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    // The tree of a deleted subvolume, which was let go of (`retire`).
    if path.block(path.rootLevel).address == LogicalAddress(0) { throw .stale }
    handle.noteChange()
    noteAnyChange()
    if !isMove { noteContentChange(handle.generation) }
    var level = path.rootLevel
    while level >= lowest {
      let block = path.block(level)
      if !block.isWritable {
        let copy = try self.copy(block, isRoot: level == path.rootLevel, in: handle)
        if level == path.rootLevel {
          root = copy
        } else {
          let parent = path.block(level + 1)
          let slot = path.slots[level + 1]
          parent.setChild(
            slot,
            KeyPointer(
              key: parent.key(slot), address: copy.address, generation: copy.generation))
        }
        path.setBlock(copy)
      }
      level -= 1
    }
  }

  /// Makes the child in `slot` of a writable node writable.
  func makeWritableChild(
    of parent: TreeBlock, slot: Int, _ child: TreeBlock, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> TreeBlock {
    if child.isWritable { return child }
    let copy = try self.copy(child, isRoot: false, in: handle)
    parent.setChild(
      slot, KeyPointer(key: parent.key(slot), address: copy.address, generation: copy.generation))
    return copy
  }

  /// A block of the running transaction, referenced by this tree: an empty one, or with
  /// `content`, what `content` holds.
  func makeBlock(
    level: UInt8, content: TreeBlock? = nil, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> TreeBlock {
    guard let allocator = context.allocator, let references = context.references else {
      throw .readOnly("the file system is not open for writing")
    }
    let address = try allocator.allocateTreeBlock(for: id, level: level, in: handle)
    let geometry = context.geometry
    let buffer = AlignedBuffer(count: geometry.nodeBytes)
    if let content {
      buffer.bytes.part(0, Format.headerSize).zero()
      content.copyContent(to: buffer.bytes)
    } else {
      buffer.bytes.zero()
    }
    BlockHeader(
      fsid: geometry.fsid, address: address, chunkTreeUUID: geometry.chunkTreeUUID,
      generation: handle.generation, owner: id, level: level
    ).encode(into: buffer.bytes)
    let block = TreeBlock(adopting: buffer)
    if let content { block.count = content.count }
    references.add(
      address, .treeBlock(level: level), .treeBlock(root: id), count: 1, newExtent: true,
      in: handle)
    context.cache.insertNew(block)
    blockDelta += 1
    return block
  }

  /// Drops this tree's reference to a block that its content no longer needs.
  func free(_ block: TreeBlock, in handle: borrowing TransactionHandle) {
    context.references?.add(
      block.address, .treeBlock(level: block.level), .treeBlock(root: id), count: -1,
      newExtent: false, in: handle)
    blockDelta -= 1
  }

  /// A copy of `block` in the running transaction; the caller makes the parent point to it.
  private func copy(
    _ block: TreeBlock, isRoot: Bool, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> TreeBlock {
    let copy = try makeBlock(level: block.level, content: block, in: handle)

    // A block that was made after the last snapshot of its tree belongs to this tree alone.
    let maybeShared =
      id.kind.isShareable && !isRoot && (block.generation <= lastSnapshot || block.isRelocated)
    if maybeShared {
      try shareOut(block, copy, in: handle)
    } else {
      free(block, in: handle)
    }
    return copy
  }

  /// Copies a block that other trees may reference too (format §9.6).
  private func shareOut(
    _ block: TreeBlock, _ copy: TreeBlock, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    guard let references = context.references else { return }
    let kind = ExtentKind.treeBlock(level: block.level)
    try references.withReferencesLocked { () throws(FilesystemError) in
      let (count, fullBackref) = try references.state(of: block.address, kind)
      guard count > 0 else {
        throw .corrupt("tree \(id): block \(block.address) has no reference")
      }

      if count == 1 {
        if fullBackref {
          try addContentReferences(of: copy, .tree(id), count: 1, in: handle)
          try addContentReferences(of: copy, .parent(block.address), count: -1, in: handle)
        }
      } else if block.owner == id && !fullBackref {
        // The other trees keep the block: what it holds is from now on held by the block
        // itself, while the copy takes over what this tree held.
        try addContentReferences(of: copy, .parent(block.address), count: 1, in: handle)
        references.setFullBackref(block.address, level: block.level, in: handle)
      } else {
        try addContentReferences(of: copy, .tree(id), count: 1, in: handle)
      }
      free(block, in: handle)
      // The old block stays, as part of another tree, when this was not its last reference.
    }
  }

  /// Adds `count` references to every extent that the content of `block` refers to, for its owner.
  func addContentReferences(
    of block: TreeBlock, _ by: ContentOwner, count: Int32, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    guard let references = context.references else { return }
    try block.forEachReference(by) { (address, kind, identity) throws(FilesystemError) in
      references.add(address, kind, identity, count: count, newExtent: false, in: handle)
    }
  }
}

/// By whom the extents are counted that a block refers to (format §9.5).
enum ContentOwner {
  case tree(TreeID)
  /// The block itself, which has FULL_BACKREF.
  case parent(LogicalAddress)
}

extension TreeBlock {
  /// Calls `body` with each extent that the block refers to, and the name of that reference.
  func forEachReference(
    _ owner: ContentOwner,
    _ body: (LogicalAddress, ExtentKind, ReferenceIdentity) throws(FilesystemError) -> Void
  ) throws(FilesystemError) {
    for slot in 0..<count {
      if !isLeaf {
        let identity: ReferenceIdentity =
          switch owner {
          case .tree(let id): .treeBlock(root: id)
          case .parent(let parent): .sharedBlock(parent: parent)
          }
        try body(child(slot).address, .treeBlock(level: level - 1), identity)
        continue
      }

      let key = key(slot)
      guard key.type == .extentData else { continue }
      let item = try FileExtentItem(item(slot).bytes)
      guard item.hasExtent else { continue }
      let identity: ReferenceIdentity =
        switch owner {
        case .tree(let id):
          .data(root: id, inode: key.objectID, offset: key.offset &- item.offset)
        case .parent(let parent): .sharedData(parent: parent)
        }
      try body(item.diskAddress, .data(length: item.diskLength), identity)
    }
  }
}

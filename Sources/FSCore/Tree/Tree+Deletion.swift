extension Tree {
  /// Removes an item; says whether there was one.
  @discardableResult
  package func delete(
    _ key: Key, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    try changing(key) { (path) throws(FilesystemError) -> Bool in
      guard path.isExact else { return false }
      try makeWritable(&path, in: handle)
      let slot = path.slot
      path.leaf.removeItem(slot)
      if path.leaf.count == 0 {
        if path.rootLevel > 0 { try removeBlock(0, &path, in: handle) }
      } else {
        if slot == 0 { updateParentKeys(path, from: 0) }
        try mergeIfSparse(0, &path, in: handle)
      }
      return true
    }
  }

  /// Removes the path's block at `level`, which is empty or whose content has moved, from its
  /// parent; the parents that this empties too.
  private func removeBlock(
    _ level: Int, _ path: inout TreePath, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let block = path.block(level)
    let parent = path.block(level + 1)
    if parent.count == 1 {
      if level + 1 == path.rootLevel {
        // The last block of the tree: an empty leaf is its own root.
        if block.isLeaf {
          root = block
          path.rootLevel = 0
          free(parent, in: handle)
        } else {
          let leaf = try makeBlock(level: 0, in: handle)
          root = leaf
          free(block, in: handle)
          free(parent, in: handle)
        }
        return
      }
      free(block, in: handle)
      try removeBlock(level + 1, &path, in: handle)
      return
    }

    parent.removeChild(path.slots[level + 1])
    free(block, in: handle)
    let slot = path.slots[level + 1]
    if slot == 0 {
      updateParentKeys(path, from: level + 1)
    } else if slot == parent.count {
      path.slots[level + 1] = slot - 1
    }
    if level + 1 == path.rootLevel {
      try lowerRoot(in: handle)
    } else {
      try mergeIfSparse(level + 1, &path, in: handle)
    }
  }

  /// Makes an only child the root, as long as it is in memory: a root with one child is legal.
  private func lowerRoot(in handle: borrowing TransactionHandle) throws(FilesystemError) {
    while !root.isLeaf, root.count == 1 {
      guard let child = try context.cache.cached(childReference(root, 0)) else { return }
      // A root is never shared; a child of an older generation may be, so it is copied first.
      let writable = try makeWritableChild(of: root, slot: 0, child, in: handle)
      let old = root
      root = writable
      free(old, in: handle)
    }
  }

  /// Unites the path's block at `level` with a neighbour under the same parent, when both
  /// together are well below full and the neighbour is in memory.
  private func mergeIfSparse(
    _ level: Int, _ path: inout TreePath, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    guard level < path.rootLevel, load(path.block(level)) * 4 < capacity(level) else { return }
    let parent = path.block(level + 1)
    let slot = path.slots[level + 1]

    if slot > 0, let left = try neighbour(parent, slot - 1),
      load(left) + load(path.block(level)) <= capacity(level) * 3 / 4
    {
      let block = path.block(level)
      let target = try makeWritableChild(of: parent, slot: slot - 1, left, in: handle)
      moveAll(from: block, to: target)
      try removeBlock(level, &path, in: handle)
    } else if slot + 1 < parent.count, let right = try neighbour(parent, slot + 1),
      load(right) + load(path.block(level)) <= capacity(level) * 3 / 4
    {
      let source = try makeWritableChild(of: parent, slot: slot + 1, right, in: handle)
      moveAll(from: source, to: path.block(level))
      path.slots[level + 1] = slot + 1
      path.setBlock(source)
      try removeBlock(level, &path, in: handle)
    }
  }

  func neighbour(_ parent: TreeBlock, _ slot: Int) throws(FilesystemError) -> TreeBlock? {
    try context.cache.cached(childReference(parent, slot))
  }

  private func load(_ block: TreeBlock) -> Int { block.isLeaf ? block.usedBytes : block.count }

  private func capacity(_ level: Int) -> Int {
    level == 0 ? context.geometry.leafCapacity : context.geometry.nodeCapacity
  }

  private func moveAll(from source: TreeBlock, to target: TreeBlock) {
    if source.isLeaf {
      source.moveItems(from: 0, number: source.count, to: target, at: target.count)
    } else {
      source.moveChildren(from: 0, number: source.count, to: target, at: target.count)
    }
  }
}

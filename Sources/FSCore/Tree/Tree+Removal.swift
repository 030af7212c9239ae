/// Dropping all of a tree that nobody else changes meanwhile, and whose blocks no other tree
/// shares.
extension Tree {
  /// All blocks but the root. Leaves are not read: what leads to them says where they are.
  private func blocksBelowRoot() throws(FilesystemError) -> [BlockReference] {
    precondition(!id.kind.isShareable)
    var blocks: [BlockReference] = []
    var next = 0
    let root = lock.shared { self.root }
    if !root.isLeaf {
      for slot in 0..<root.count { blocks.append(childReference(root, slot)) }
    }
    while next < blocks.count {
      let reference = blocks[next]
      next += 1
      guard reference.level > 0 else { continue }
      let node = try context.cache.reuse.reading { () throws(FilesystemError) in
        try context.cache.load(reference)
      }
      for slot in 0..<node.count { blocks.append(childReference(node, slot)) }
    }
    return blocks
  }

  /// Throws when a node cannot be read, and so the tree could not be removed.
  package func checkNodes() throws(FilesystemError) { _ = try blocksBelowRoot() }

  /// Leaves one empty leaf. Throws before anything is changed when a node cannot be read.
  package func removeAll(in handle: borrowing TransactionHandle) throws(FilesystemError) {
    let blocks = try blocksBelowRoot()
    handle.noteChange()
    try lock.exclusive { () throws(FilesystemError) in
      let old = root
      root = try makeBlock(level: 0, in: handle)
      free(old, in: handle)
    }
    free(blocks, in: handle)
  }

  /// Leaves nothing: the tree is not to be used any more.
  func removeWithRoot(in handle: borrowing TransactionHandle) throws(FilesystemError) {
    let blocks = try blocksBelowRoot()
    handle.noteChange()
    free(root, in: handle)
    free(blocks, in: handle)
  }

  private func free(_ blocks: [BlockReference], in handle: borrowing TransactionHandle) {
    for block in blocks {
      context.references?.add(
        block.address, .treeBlock(level: block.level), .treeBlock(root: id), count: -1,
        newExtent: false, in: handle)
    }
    lock.exclusive { blockDelta -= blocks.count }
  }
}

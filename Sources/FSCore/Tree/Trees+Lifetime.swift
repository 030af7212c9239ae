/// Trees that come and go: those of features that an image can gain and lose.
extension Trees {
  /// Makes a tree with one empty leaf, and its root item.
  package func create(
    _ id: TreeID, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Tree {
    precondition(!id.isSubvolume)
    handle.noteChange()
    let tree = try Tree(creating: id, context: context, in: handle)
    let state = tree.rootState
    let key = Key(id.objectID, .rootItem, 0)
    let item = RootItem(
      address: state.address, level: state.level, generation: handle.generation,
      nodeSize: context.geometry.nodeSize)
    try root.insert(key, size: RootItem.size, in: handle) { item.encode(into: $0) }
    let entry = Entry(
      tree: tree, rootItemKey: key, isReadOnly: false, savedAddress: state.address,
      savedBlockDelta: state.blockDelta)
    self.state.withLock { $0.entries[id] = entry }
    return tree
  }

  /// Removes a tree with its root item and all of its blocks. Nobody uses it any more. Throws
  /// before anything is changed when a node cannot be read.
  package func remove(
    _ tree: Tree, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    guard let entry = state.withLock({ $0.entries[tree.id] }), entry.tree === tree else {
      throw .corrupt("tree \(tree.id) is not one of this volume")
    }
    try tree.removeWithRoot(in: handle)
    guard try root.delete(entry.rootItemKey, in: handle) else {
      throw .corrupt("tree \(tree.id) has lost its root item")
    }
    _ = state.withLock { $0.entries.removeValue(forKey: tree.id) }
  }
}

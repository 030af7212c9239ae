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
    let entry = Entry(
      tree: tree, rootItemKey: key, savedAddress: state.address,
      savedBlockDelta: state.blockDelta)
    // Before the root item is there: whoever finds that would open the tree once more.
    self.state.withLock { $0.entries[id] = entry }
    do throws(FilesystemError) {
      try root.insert(key, size: RootItem.size, in: handle) { item.encode(into: $0) }
    } catch {
      _ = self.state.withLock { $0.entries.removeValue(forKey: id) }
      throw error
    }
    return tree
  }

  /// Removes a tree: its root item, and the blocks that it has, whatever stands in them. Nobody
  /// uses it any more. No block of it is read: it need not be whole.
  package func remove(
    _ id: TreeID, blocks: [(address: LogicalAddress, level: UInt8)],
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    precondition(!id.kind.isShareable)
    // One, of which Linux looks only for the first; a hostile image may have more.
    var keys: [Key] = []
    try root.forEach(
      from: Key(id.objectID, .rootItem, 0), through: Key(id.objectID, .rootItem, .max)
    ) { key, _ throws(FilesystemError) in
      keys.append(key)
      return true
    }
    for key in keys {
      handle.noteWhole()
      try root.delete(key, in: handle)
    }
    handle.noteChange()
    for block in blocks {
      context.references?.add(
        block.address, .treeBlock(level: block.level), .treeBlock(root: id), count: -1,
        newExtent: false, in: handle)
    }
    _ = state.withLock { $0.entries.removeValue(forKey: id) }
    handle.noteWhole()
  }
}

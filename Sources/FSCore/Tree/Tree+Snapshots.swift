extension Tree {
  /// How many children or items the root block has.
  package var rootCount: Int { lock.shared { root.count } }

  /// A tree `id` that says what this one says now. Nobody else has a handle open, so no operation is
  /// half done. Takes as long as copying the root block, and a look at the blocks that the running
  /// transaction has made, whatever stands below them.
  ///
  /// What the two share is not writable afterwards, so that both copy it before they change it; the
  /// root blocks are each tree's own.
  func makeSnapshot(
    _ id: TreeID, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Tree {
    precondition(self.id.kind.isShareable && id.kind.isShareable)
    return try lock.exclusive { () throws(FilesystemError) in
      // The root item changes by the transaction of the snapshot, so the root block does as well.
      var path = TreePath()
      path.rootLevel = Int(root.level)
      path.set(root, 0)
      try makeWritable(&path, downTo: path.rootLevel, isMove: true, in: handle)
      try freezeChildren(of: root)
      let snapshot = try Tree(snapshot: id, of: self, in: handle)
      noteSnapshot(in: handle.generation)
      return snapshot
    }
  }

  /// From now on the blocks below are copied before they are changed, also those that the running
  /// transaction has made. Those are in memory, and so are all writable blocks above them.
  private func freezeChildren(of block: TreeBlock) throws(FilesystemError) {
    guard !block.isLeaf else { return }
    for slot in 0..<block.count where block.child(slot).generation == block.generation {
      guard let child = try context.cache.cached(childReference(block, slot)), child.isWritable
      else { continue }
      child.isWritable = false
      try freezeChildren(of: child)
    }
  }
}

extension Tree {
  /// Nobody changes the tree any more, and a thread that looks for something in it finds nothing. Its
  /// blocks are somebody else's business from now on.
  func retire() {
    let empty = AlignedBuffer(zeroed: context.geometry.nodeBytes)
    BlockHeader(
      fsid: context.geometry.fsid, address: 0, chunkTreeUUID: context.geometry.chunkTreeUUID,
      generation: 0, owner: id, level: 0
    ).encode(into: empty.bytes)
    lock.exclusive { root = TreeBlock(adopting: empty) }
  }
}

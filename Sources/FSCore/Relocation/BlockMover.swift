/// Moves tree blocks: each is copied, with all above it, in every tree that has it.
struct BlockMover: Sendable {
  let trees: Trees
  let transactions: TransactionManager
  let references: DelayedReferences

  /// Moves the block at `address` out of its block group, which is read-only. False when it is gone
  /// already. Called with no lock held and no handle open. An error leaves all trees whole.
  func move(_ address: LogicalAddress, level: UInt8) throws(FilesystemError) -> Bool {
    let kind = ExtentKind.treeBlock(level: level)
    guard try !references.referrers(of: address, kind).isEmpty else { return false }
    let block = try trees.context.cache.block(at: address)
    guard block.level == level else {
      throw .corrupt("tree block \(address): level \(block.level) in place of \(level)")
    }
    let key = block.count == 0 ? Key.zero : block.firstKey
    let owner = block.owner
    guard owner.kind.isShareable else {
      guard let tree = try single(owner) else {
        throw .unsupported("the block at \(address) belongs to tree \(owner), which is not there")
      }
      return try move(address, level, key, in: tree)
    }

    var hasMoved = false
    if let tree = try trees.shareable(owner), try move(address, level, key, in: tree) {
      hasMoved = true
      if try references.referrers(of: address, kind).isEmpty { return true }
    }
    for id in try trees.subvolumeIDs() {
      if try move(address, level, key, in: trees.subvolume(id)) { hasMoved = true }
    }
    guard try references.referrers(of: address, kind).isEmpty else {
      throw .unsupported(
        "the tree block at \(address) is part of a tree that is not there, as of a subvolume that "
          + "is being deleted: let Linux finish that")
    }
    return hasMoved
  }

  private func move(
    _ address: LogicalAddress, _ level: UInt8, _ key: Key, in tree: Tree
  ) throws(FilesystemError) -> Bool {
    // Most trees do not have it, and need no transaction to say so.
    guard try tree.hasBlock(at: address, level: level, key: key) else { return false }
    return try transactions.perform(reserving: 2) { (handle) throws(FilesystemError) in
      try tree.moveBlock(at: address, level: level, key: key, in: handle)
    }
  }

  private func single(_ id: TreeID) throws(FilesystemError) -> Tree? {
    switch id {
    case .root: trees.root
    case .chunk: trees.chunk
    case .extent: trees.extent
    default: try trees.optional(id)
    }
  }
}

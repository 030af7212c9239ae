/// Moves tree blocks: each is copied, with all above it, in every tree that has it. What trees share
/// they share afterwards.
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

    return try moveShareable(address, level, key, owner)
  }

  /// How often trees are looked at anew that change meanwhile.
  private static let mostAttempts = 32

  /// A block of a subvolume's tree moves in all trees that have it, which share the copy.
  private func moveShareable(
    _ address: LogicalAddress, _ level: UInt8, _ key: Key, _ owner: TreeID
  ) throws(FilesystemError) -> Bool {
    let kind = ExtentKind.treeBlock(level: level)
    for _ in 0..<Self.mostAttempts {
      if let tree = try trees.shareable(owner), try tree.isPathUnshared(to: key, downTo: level),
        try move(address, level, key, in: tree)
      {
        return true
      }
      var having: [Tree] = []
      for id in try trees.subvolumeIDs() {
        let tree = try trees.subvolume(id)
        if try tree.hasBlock(at: address, level: level, key: key) { having.append(tree) }
      }
      switch having.count {
      case 0: break
      case 1:
        if try move(address, level, key, in: having[0]),
          try references.referrers(of: address, kind).isEmpty
        {
          return true
        }
      default:
        let path = try SharedPath(trees.context)
        let outcome = try transactions.perform(reserving: having.count + 1) {
          (handle) throws(FilesystemError) -> SharedPath.Outcome in
          // Deleted since it was looked at.
          if having.contains(where: \.isDoomed) { return .changed }
          return try path.move(address, level: level, key: key, in: having, by: handle)
        }
        if case .moved = outcome { return true }
      }
      if try references.referrers(of: address, kind).isEmpty { return false }
    }
    throw .unsupported(
      "the tree block at \(address) is part of a tree that is not there, as of a subvolume that "
        + "is being deleted: let Linux finish that")
  }

  private func move(
    _ address: LogicalAddress, _ level: UInt8, _ key: Key, in tree: Tree
  ) throws(FilesystemError) -> Bool {
    // Most trees do not have it, and need no transaction to say so.
    guard try tree.hasBlock(at: address, level: level, key: key) else { return false }
    return try transactions.perform(reserving: 2) { (handle) throws(FilesystemError) -> Bool in
      // Deleted since it was looked at.
      if tree.isDoomed { return false }
      return try tree.moveBlock(at: address, level: level, key: key, in: handle)
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

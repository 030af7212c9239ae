/// The commit's part that keeps BLOCK_GROUP_ITEMs: each says how many bytes of its group extent
/// items cover.
package struct BlockGroupItems: CommitParticipant {
  let space: SpaceManager

  package init(space: SpaceManager) { self.space = space }

  static func key(_ group: BlockGroup) -> Key {
    Key(ObjectID(group.start.rawValue), .blockGroupItem, group.length)
  }

  /// Writes the items whose `used` is not what they say. That may copy blocks of their tree, which
  /// changes `used` again.
  package func settle(
    in handle: borrowing TransactionHandle, _ context: borrowing CommitContext, round: Int
  ) throws(FilesystemError) -> Bool {
    try space.checkFailure()
    var hasChanged = false
    for group in space.dirtyGroups {
      let (used, written) = group.state.withLock { ($0.used, $0.writtenUsed) }
      guard used != written else { continue }
      let isPresent = try space.groupItemTree.modify(
        Self.key(group), in: handle
      ) { bytes throws(FilesystemError) in
        guard bytes.count == BlockGroupItem.size else {
          throw .corrupt("a block group item of \(bytes.count) bytes")
        }
        bytes.store(used, at: 0)
        return true
      }
      guard isPresent == true else { throw .corrupt("block group \(group.start) has no item") }
      group.state.withLock { $0.writtenUsed = used }
      space.registry.withLock { $0.writtenUsed = $0.writtenUsed - written + used }
      hasChanged = true
    }
    return hasChanged
  }

  /// From here on what enters or leaves a group is the next transaction's.
  package func seal(
    _ superblock: inout Superblock, _ context: borrowing CommitContext
  ) throws(FilesystemError) {
    try space.forgetDirtyGroups()
    superblock.bytesUsed = space.totalUsed
  }

  /// What the last commit still needed may be overwritten now.
  package func didCommit(_ generation: Generation) {
    space.trees.context.cache.reuse.waitForEarlierReaders()
    space.unpin(generation)
  }
}

extension BlockGroupItems {
  package func brokenInvariants() -> [String] {
    let unwritten = space.dirtyGroups.filter { $0.state.withLock { $0.used != $0.writtenUsed } }
    return space.brokenInvariants()
      + unwritten.map { "the item of block group \($0.start) does not say what is used" }
  }
}

extension SpaceManager {
  /// Bytes that extent items cover, as the BLOCK_GROUP_ITEMs in the tree say.
  package var totalUsed: UInt64 { registry.withLock { $0.writtenUsed } }

  /// Groups that extents entered or left in the running transaction, and those that the record of
  /// free space wants to be looked at.
  package var dirtyGroups: [BlockGroup] { registry.withLock { $0.dirty } }

  /// Puts a group among `dirtyGroups`, though it may not change.
  package func listAsDirty(_ group: BlockGroup) {
    if group.listAsDirty() { registry.withLock { $0.dirty.append(group) } }
  }

  /// Empties the list of changed groups. Inside the critical section, after the last change.
  func forgetDirtyGroups() throws(FilesystemError) {
    try checkFailure()
    let groups = dirtyGroups
    // Others may list groups meanwhile: they set a flag, then append.
    for group in groups { group.state.withLock { $0.isListedAsDirty = false } }
    registry.withLock { $0.dirty.removeFirst(groups.count) }
  }
}

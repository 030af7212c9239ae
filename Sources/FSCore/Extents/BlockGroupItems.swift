/// The commit's part that keeps BLOCK_GROUP_ITEMs: each says how many bytes of its group extent
/// items cover.
package struct BlockGroupItems: CommitParticipant {
  let groups: BlockGroupRegistry

  package init(groups: BlockGroupRegistry) { self.groups = groups }

  static func key(_ group: BlockGroup) -> Key {
    Key(ObjectID(group.start.rawValue), .blockGroupItem, group.length)
  }

  /// Writes items while others still change trees, so that in the critical section only those are left
  /// whose groups change again, and their paths are copied.
  package func preparePaths(
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    try write(in: handle, mayLackItems: true)
  }

  package func settle(
    in handle: borrowing TransactionHandle, _ context: borrowing CommitContext, round: Int
  ) throws(FilesystemError) -> Bool {
    try write(in: handle, mayLackItems: false)
  }

  /// Writes the items whose `used` is not what they say. That may copy blocks of their tree, which
  /// changes `used` again.
  ///
  /// - Parameter mayLackItems: a chunk may have been made just now, and have no items yet.
  private func write(
    in handle: borrowing TransactionHandle, mayLackItems: Bool
  ) throws(FilesystemError) -> Bool {
    try groups.checkFailure()
    let work = groups.takeItemWork()
    do throws(FilesystemError) {
      return try write(work, in: handle, mayLackItems: mayLackItems)
    } catch {
      groups.putBackItemWork(work)
      throw error
    }
  }

  private func write(
    _ work: [BlockGroup], in handle: borrowing TransactionHandle, mayLackItems: Bool
  ) throws(FilesystemError) -> Bool {
    var hasChanged = false
    for group in work {
      let (used, written) = group.state.withLock { ($0.used, $0.writtenUsed) }
      guard used != written else { continue }
      let isPresent = try groups.itemTree.modify(
        Self.key(group), in: handle
      ) { bytes throws(FilesystemError) in
        guard bytes.count == BlockGroupItem.size else {
          throw .corrupt("a block group item of \(bytes.count) bytes")
        }
        bytes.store(used, at: 0)
        return true
      }
      guard isPresent == true else {
        guard mayLackItems, group.isNew else {
          throw .corrupt("block group \(group.start) has no item")
        }
        groups.putBackItemWork([group])
        continue
      }
      groups.didWriteItem(group, used: used)
      handle.noteWhole()
      hasChanged = true
    }
    return hasChanged
  }

  /// From here on what enters or leaves a group is the next transaction's.
  package func seal(
    _ superblock: inout Superblock, _ context: borrowing CommitContext
  ) throws(FilesystemError) {
    try groups.forgetDirty()
    superblock.bytesUsed = groups.totalUsed
  }

  /// What the last commit still needed may be overwritten now.
  package func didCommit(_ generation: Generation) {
    groups.itemTree.context.cache.reuse.waitForEarlierReaders()
    groups.unpin(generation)
  }
}

extension BlockGroupItems {
  package func brokenInvariants() -> [String] {
    let unwritten = groups.dirty.filter { $0.state.withLock { $0.used != $0.writtenUsed } }
    return groups.brokenInvariants()
      + unwritten.map { "the item of block group \($0.start) does not say what is used" }
  }
}

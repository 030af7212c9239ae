/// What becomes of the cache of a block group that goes.
extension CacheFiles {
  /// Header, inode, and the extents of a file that is as it should be.
  package func itemsToForget(_ group: BlockGroup) -> Int { 4 }

  package func forget(
    _ group: BlockGroup, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    precondition(!handle.isHalfDone && group.used == 0)
    try state.withLock { state throws(FilesystemError) in
      let owners = state.owners
      try FreeSpaceInode.removeCache(
        of: group.start, in: trees.root, references,
        unless: { owners[$0, default: group.start] != group.start }, in: handle)
      handle.noteWhole()
      for (inode, owner) in owners where owner == group.start { state.owners[inode] = nil }
      state.pending[group.start] = nil
      caches.withLock { caches in
        caches.forgotten.insert(group.start)
        caches.byGroup[group.start] = nil
      }
    }
  }
}

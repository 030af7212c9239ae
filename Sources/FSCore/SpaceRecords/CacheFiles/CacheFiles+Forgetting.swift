/// What becomes of the cache of a block group that goes.
extension CacheFiles {
  /// Header, inode, and the extents of a file that is as it should be.
  package func itemsToForget(_ group: BlockGroup) -> Int { 4 }

  package func forget(
    _ group: BlockGroup, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    precondition(!handle.isHalfDone && group.used == 0)
    try state.withLock { state throws(FilesystemError) in
      try removeItems(of: group, &state, in: handle)
      handle.noteWhole()
      state.pending[group.start] = nil
      caches.withLock { caches in
        caches.forgotten.insert(group.start)
        caches.byGroup[group.start] = nil
      }
    }
  }
}

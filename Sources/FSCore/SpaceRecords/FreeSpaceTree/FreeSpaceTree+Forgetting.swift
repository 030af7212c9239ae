/// What becomes of the items of a block group that goes.
extension FreeSpaceTree {
  /// What was freed last may not be in the tree yet, so there are as many items as ever there may
  /// be; of those in one leaf all but the first cost nothing.
  package func itemsToForget(_ group: BlockGroup) -> Int {
    let leaf = UInt64(space.groups.geometry.leafCapacity)
    return 6 + Int(FreeSpaceTreeGroup.layout(of: group).mostBytes / leaf)
  }

  /// What cannot be read of the tree costs the tree, not the group's going.
  package func forget(
    _ group: BlockGroup, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    precondition(!handle.isHalfDone && group.used == 0)
    try state.withLock { state throws(FilesystemError) in
      // An older kernel may have left one.
      try FreeSpaceInode.removeCache(of: group.start, in: trees.root, references, in: handle)
      handle.noteWhole()
      if let tree = state.tree, !state.isToBeRebuilt {
        do throws(FilesystemError) {
          try FreeSpaceTreeGroup(tree, group).remove(in: handle)
        } catch {
          guard !handle.isHalfDone else { throw error }
          guard error.isOfReading else {
            // Some of its items may be gone.
            distrust(group)
            throw error
          }
          disbelieve(&state, error)
        }
      }
      state.verified.remove(group.start)
      doubts.withLock { doubts in
        doubts.forgotten.insert(group.start)
        doubts.distrusted[group.start] = nil
      }
    }
  }
}

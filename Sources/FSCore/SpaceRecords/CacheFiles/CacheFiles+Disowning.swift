import Logging

/// Caches that nobody may believe any more.
extension CacheFiles {
  /// Makes sure that nobody believes the cache of a group: inode generation 0, which the kernel
  /// and btrfs check both take as "none". Where that cannot be done before anything is changed,
  /// the superblock of this commit vouches for no cache at all. The lock is held.
  ///
  /// - Parameter isTriedAgain: an error that may pass is thrown, with nothing changed: the caller sees to
  ///   it that no superblock vouches for the cache until a later call has succeeded.
  func invalidate(
    _ group: BlockGroup, _ newState: DiskCacheState? = nil, isTriedAgain: Bool = false,
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    handle.noteWhole()
    do throws(FilesystemError) {
      if let inode = try FreeSpaceInode.find(of: group.start, in: trees.root) {
        try inode.change(in: handle) { $0.generation = 0 }
      }
      change(group) { $0.didInvalidate(newState) }
    } catch {
      if handle.isHalfDone || isTriedAgain && Self.mayPass(error) { throw error }
      didFailToDisown(group, error, handle.generation)
    }
    handle.noteWhole()
  }

  /// Deletes the cache of a group that is being emptied, in which its file may stand. A file that is
  /// damaged stays, disowned. The lock is held; errors are treated as by `invalidate`.
  func delete(
    _ group: BlockGroup, _ state: inout State, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    handle.noteWhole()
    do throws(FilesystemError) {
      try removeItems(of: group, &state, in: handle)
      outcomes.note(.emptied)
      change(group) { $0.didDelete() }
    } catch {
      if handle.isHalfDone { throw error }
      didFailToDisown(group, error, handle.generation)
    }
    handle.noteWhole()
  }

  /// Header, inode and file go, unless another group's cache stands there. The lock is held.
  func removeItems(
    of group: BlockGroup, _ state: inout State, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let owners = state.owners
    try FreeSpaceInode.removeCache(
      of: group.start, in: trees.root, references,
      unless: { owners[$0, default: group.start] != group.start }, in: handle)
    for (inode, owner) in owners where owner == group.start { state.owners[inode] = nil }
  }

  /// Whether the same may succeed later. What is malformed stays so, and nobody else can read it.
  private static func mayPass(_ error: FilesystemError) -> Bool {
    switch error {
    case .device, .noRoom, .checksum: true
    default: false
    }
  }

  private func didFailToDisown(
    _ group: BlockGroup, _ error: FilesystemError, _ generation: Generation
  ) {
    log.warning(
      """
      block group \(group.start): its free space cache cannot be disowned, so that all are \
      until the next commit: \(error)
      """)
    caches.withLock {
      $0.unvouched = generation
      $0.byGroup[group.start, default: GroupCache()].didFailToInvalidate(generation)
    }
  }
}

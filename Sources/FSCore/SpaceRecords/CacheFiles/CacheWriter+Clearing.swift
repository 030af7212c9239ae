import Logging

/// Getting rid of caches that nobody vouches for: `clear_cache`, `nospace_cache`, or an image
/// that was last written by somebody who did not keep them.
extension CacheWriter {
  /// How many caches one commit gets rid of; while there are more, the superblock vouches for
  /// none.
  private static let batchSize = 512

  /// Disowns the next old caches, or deletes them when none is to be kept. The lock is held.
  func clearOld(
    _ state: inout State, in h: borrowing TransactionHandle
  ) throws(FilesystemError) {
    guard let start = state.clearFrom else { return }
    var groups: [LogicalAddress] = []
    let last = Key(.freeSpace, .untyped, .max)
    try trees.root.forEach(from: FreeSpaceHeader.key(of: start), through: last) {
      key, _ throws(FilesystemError) in
      groups.append(LogicalAddress(key.offset))
      return groups.count < Self.batchSize
    }
    for address in groups { try clearOld(address, in: h) }

    if groups.count == Self.batchSize, let last = groups.last, last.rawValue < .max {
      state.clearFrom = last + 1
    } else {
      state.clearFrom = nil
      if start == 0, groups.isEmpty { return }
      log.info("old free space caches are \(mode == .kept ? "disowned" : "deleted")")
    }
  }

  private func clearOld(
    _ address: LogicalAddress, in h: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let group = try? space.group(containing: address)
    if mode == .kept, let group, group.start == address {
      if !group.hasOwnCache { try invalidate(group, .clear, in: h) }
      return
    }
    if let inode = try FreeSpaceInode.find(of: address, in: trees.root) {
      try inode.remove(references, in: h)
    } else {
      _ = try trees.root.delete(FreeSpaceHeader.key(of: address), in: h)
    }
  }
}

import FreeSpace
import Logging

extension CacheFiles {
  /// Step 1 of a cache's way to the device: an inode with generation 0, whose file is
  /// preallocated anew in one piece. What it had is freed like anything else: pinned, so the
  /// last commit's cache stays whole. Without space the group's state becomes `error`, and no
  /// other group is tried in this transaction. The lock is held.
  func setUp(
    _ group: BlockGroup, _ state: inout State, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let length = CacheLayout.byteCount(forGroupLength: group.length)
    let isRefused = hooks.withLock { $0.refusesSetup }?(group.start) == true
    guard !isRefused, let address = space.allocateRecordFile(length: length) else {
      state.refusedGeneration = handle.generation
      fail(group, "no space to set it up", handle.generation)
      return
    }

    let root = trees.root
    let inode: FreeSpaceInode
    let old = try FreeSpaceInode.find(of: group.start, in: root)
    if let old, let fault = try old.fault() {
      // Left as it is, with what it refers to: a damaged cache fails no commit.
      log.warning(
        "block group \(group.start): its free space cache is given up for a new one: \(fault)")
      try old.change(in: handle) { $0.generation = 0 }
      inode = try FreeSpaceInode.create(
        for: group.start, number: try objectIDs.next(), in: root, in: handle)
    } else if let present = old,
      // Two headers that lead to one inode are possible on a damaged image.
      state.owners[present.number, default: group.start] == group.start
    {
      inode = present
      try inode.truncate(references, in: handle)
    } else {
      inode = try FreeSpaceInode.create(
        for: group.start, number: try objectIDs.next(), in: root, in: handle)
    }

    state.owners[inode.number] = group.start

    let extent = FileExtentItem(
      generation: handle.generation, kind: .preallocated, diskAddress: address, diskLength: length,
      ramBytes: length, offset: 0, length: length)
    try root.insert(inode.extentKey(0), size: FileExtentItem.size, in: handle) {
      extent.encode(into: $0)
    }
    references.add(
      address, .data(length: length), .data(root: .root, inode: inode.number, offset: 0),
      count: 1, newExtent: true, in: handle)
    try inode.change(in: handle) { item in
      item.generation = 0
      item.size = length
      item.nbytes = length
      item.linkCount = 1
      item.mode = FreeSpaceInode.mode
      item.flags = FreeSpaceInode.flags
    }
    let file = CacheFileLocation(inode: inode.number, address: address, length: length)
    let generation = handle.generation
    change(group) { $0.didSetUp(generation, file) }
  }

  /// Makes sure that nobody believes the cache of a group: inode generation 0, which the kernel
  /// and btrfs check both take as "none". The lock is held.
  func invalidate(
    _ group: BlockGroup, _ newState: DiskCacheState? = nil, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    if let inode = try FreeSpaceInode.find(of: group.start, in: trees.root) {
      try inode.change(in: handle) { $0.generation = 0 }
    }
    change(group) { $0.didInvalidate(newState) }
  }
}

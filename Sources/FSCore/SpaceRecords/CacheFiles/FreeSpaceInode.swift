extension FreeSpaceHeader {
  static func key(of group: LogicalAddress) -> Key { Key(.freeSpace, .untyped, group.rawValue) }

  init(inode: ObjectID, generation: Generation, entryCount: UInt64, bitmapCount: UInt64) {
    self.init(
      location: Key(inode, .inodeItem, 0), generation: generation, entryCount: entryCount,
      bitmapCount: bitmapCount)
  }

  var inode: ObjectID { location.objectID }

  /// Whether it leads to what can be the inode of a cache.
  var isPossible: Bool {
    location.type == .inodeItem && location.offset == 0 && inode >= .firstFree
      && inode < .lastFree
  }
}

/// The hidden file of a block group's free space cache: an inode of the root tree that no
/// directory names. Changed only with the lock of rank `freeSpaceInode` held.
struct FreeSpaceInode {
  let group: LogicalAddress
  let number: ObjectID
  let root: Tree

  /// NODATASUM, NODATACOW, NOCOMPRESS, PREALLOC: what the kernel gives these inodes.
  static let flags: InodeFlags = [.noDataSum, .noDataCow, .noCompress, .prealloc]
  /// Any other mode is an error to btrfs check.
  static let mode: UInt32 = 0o100600

  var inodeKey: Key { Key(number, .inodeItem, 0) }
  func extentKey(_ offset: UInt64) -> Key { Key(number, .extentData, offset) }

  static func header(
    of group: LogicalAddress, in root: Tree
  ) throws(FilesystemError) -> FreeSpaceHeader? {
    try root.find(FreeSpaceHeader.key(of: group)) { bytes throws(FilesystemError) in
      try FreeSpaceHeader(bytes)
    }
  }

  /// The inode that a group's header leads to; nil when there is no header, or it leads nowhere.
  static func find(
    of group: LogicalAddress, in root: Tree
  ) throws(FilesystemError) -> FreeSpaceInode? {
    let isPossible =
      try root.find(FreeSpaceHeader.key(of: group)) { $0.byteCount }
      == FreeSpaceHeader.size
    guard isPossible, let header = try header(of: group, in: root), header.isPossible else {
      return nil
    }
    let inode = FreeSpaceInode(group: group, number: header.inode, root: root)
    let size = try root.find(inode.inodeKey) { $0.byteCount }
    return size == InodeItem.size ? inode : nil
  }

  func item() throws(FilesystemError) -> InodeItem? {
    try root.find(inodeKey) { bytes throws(FilesystemError) in try InodeItem(bytes) }
  }

  /// What stands in the file.
  func extents() throws(FilesystemError) -> CacheFileExtents {
    var extents = CacheFileExtents()
    try root.forEach(from: extentKey(0), through: extentKey(.max)) {
      key, bytes throws(FilesystemError) in
      extents.append(key.offset, try FileExtentItem(bytes))
      return !extents.isFull
    }
    return extents
  }

  /// Makes an empty inode with generation 0 and a header that says nothing. A header that led
  /// nowhere is replaced.
  static func create(
    for group: LogicalAddress, number: ObjectID, in root: Tree,
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> FreeSpaceInode {
    let inode = FreeSpaceInode(group: group, number: number, root: root)
    var item = InodeItem(
      generation: 0, mode: mode, uid: 0, gid: 0, now: Timestamp(seconds: 0, nanoseconds: 0))
    item.transactionID = handle.generation
    item.flags = flags
    try root.insert(inode.inodeKey, size: InodeItem.size, in: handle) { item.encode(into: $0) }
    let header = FreeSpaceHeader(inode: number, generation: 0, entryCount: 0, bitmapCount: 0)
    try root.replace(FreeSpaceHeader.key(of: group), size: FreeSpaceHeader.size, in: handle) {
      header.encode(into: $0)
    }
    return inode
  }

  /// Changes the inode's item in place.
  func change(
    in handle: borrowing TransactionHandle, _ body: (inout InodeItem) -> Void
  ) throws(FilesystemError) {
    guard try changeIfPresent(in: handle, body) else {
      throw .corrupt("free space inode \(number) is gone")
    }
  }

  /// Changes the inode's item in place, if there is one.
  func changeIfPresent(
    in handle: borrowing TransactionHandle, _ body: (inout InodeItem) -> Void
  ) throws(FilesystemError) -> Bool {
    let generation = handle.generation
    return try root.modify(inodeKey, in: handle) { bytes throws(FilesystemError) in
      guard bytes.count == InodeItem.size else { return false }
      var item = try InodeItem(UnsafeRawBufferPointer(bytes).bytes)
      item.transactionID = generation
      body(&item)
      item.encode(into: bytes)
      return true
    } ?? false
  }

  /// Why the file is not one that a cache's writer leaves behind, finished or given up; nil when
  /// it is. What a damaged one refers to may not be its own.
  func fault() throws(FilesystemError) -> String? {
    do throws(FilesystemError) {
      guard let item = try item() else { return "its inode \(number) is missing" }
      let extents = try extents()
      if item.size == 0, extents.items.isEmpty { return nil }
      return extents.fault(size: item.size, allowingUnwritten: true)
    } catch .corrupt(let reason) {
      return reason
    }
  }

  /// Drops all that stands in the file, which has no `fault`; its space is pinned like any other
  /// that is freed.
  func truncate(
    _ references: DelayedReferences, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    for (offset, item) in try extents().items {
      guard try root.delete(extentKey(offset), in: handle) else {
        throw .corrupt("free space inode \(number) has lost its extent at \(offset)")
      }
      guard item.hasExtent else { continue }
      references.add(
        item.diskAddress, .data(length: item.diskLength),
        .data(root: .root, inode: number, offset: offset &- item.offset), count: -1,
        newExtent: false, in: handle)
    }
  }

  /// Deletes the file, its inode and its header (format §10.7).
  func remove(
    _ references: DelayedReferences, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    try truncate(references, in: handle)
    _ = try root.delete(inodeKey, in: handle)
    _ = try root.delete(FreeSpaceHeader.key(of: group), in: handle)
  }

  /// Deletes the cache of the group that begins, or once began, at `address`, if there is one.
  ///
  /// - Parameter isKept: says of an inode that it is another group's cache.
  static func removeCache(
    of address: LogicalAddress, in root: Tree, _ references: DelayedReferences,
    unless isKept: (ObjectID) -> Bool = { _ in false }, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    guard let inode = try find(of: address, in: root), !isKept(inode.number) else {
      _ = try root.delete(FreeSpaceHeader.key(of: address), in: handle)
      return
    }
    if try inode.fault() == nil {
      try inode.remove(references, in: handle)
    } else {
      // What a damaged file refers to may not be its own.
      try inode.change(in: handle) { $0.generation = 0 }
      _ = try root.delete(FreeSpaceHeader.key(of: address), in: handle)
    }
  }
}

extension FreeSpaceInode {
  /// Whether the file has one extent, as it was set up or written last.
  func holdsOnly(_ known: CacheFileLocation) throws(FilesystemError) -> Bool {
    var count = 0
    var isKnown = false
    try root.forEach(from: extentKey(0), through: extentKey(.max)) {
      key, bytes throws(FilesystemError) in
      count += 1
      let item = try FileExtentItem(bytes)
      isKnown =
        key.offset == 0 && item.kind != .inline && item.diskAddress == known.address
        && item.diskLength == known.length && item.length == known.length && item.offset == 0
      return count < 2
    }
    return count == 1 && isKnown
  }
}

extension InodeItem {
  /// What the inode of a cache says from its set-up until the cache is written.
  mutating func becomeCache(length: UInt64) {
    generation = 0
    size = length
    nbytes = length
    linkCount = 1
    mode = FreeSpaceInode.mode
    flags = FreeSpaceInode.flags
  }
}

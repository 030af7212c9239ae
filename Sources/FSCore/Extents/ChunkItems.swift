/// The commit's part that tells the trees of new chunks: CHUNK_ITEM, DEV_EXTENTs, the device's
/// bytes_used, BLOCK_GROUP_ITEM.
package struct ChunkItems: CommitParticipant {
  private let chunks: ChunkLifecycle
  private let trees: Trees
  private let deviceKey: Key

  package init(chunks: ChunkLifecycle, trees: Trees, device: DeviceItem) {
    self.chunks = chunks
    self.trees = trees
    deviceKey = Key(.devItems, .devItem, device.deviceID.rawValue)
  }

  package func prepare(in handle: borrowing TransactionHandle) throws(FilesystemError) {
    _ = try insertNew(in: handle)
  }

  /// A chunk that another thread makes after this has been asked for the last time holds no extent
  /// of this transaction, and waits for the next one.
  package func settle(
    in handle: borrowing TransactionHandle, _ context: borrowing CommitContext, round: Int
  ) throws(FilesystemError) -> Bool {
    try insertNew(in: handle)
  }

  package func seal(
    _ superblock: inout Superblock, _ context: borrowing CommitContext
  ) throws(FilesystemError) {
    var item = try superblock.deviceItem
    item.bytesUsed = chunks.deviceBytesUsed
    let size = chunks.deviceBytes
    if size != item.totalBytes {
      // What a volume that is written has: one device.
      superblock.totalBytes = size
      item.totalBytes = size
    }
    superblock.setDeviceItem(item)
    if let system = chunks.takeChangedSystemChunks() { try superblock.setSystemChunks(system) }
  }

  package func didCommit(_ generation: Generation) {
    chunks.finishRemovals(through: generation)
  }

  package func brokenInvariants() -> [String] {
    let used = chunks.new.filter { $0.group.used > 0 }
    return used.map { "the trees do not know chunk \($0.chunk.start), which holds extents" }
  }

  private func insertNew(in handle: borrowing TransactionHandle) throws(FilesystemError) -> Bool {
    var hasChanged = false
    while let new = chunks.takeNew() {
      do throws(FilesystemError) {
        try insert(new, in: handle)
      } catch {
        // When nothing was changed the next commit tries again.
        if !handle.isHalfDone { chunks.putBack(new) }
        throw error
      }
      handle.noteWhole()
      hasChanged = true
    }
    return hasChanged
  }

  private func insert(
    _ new: ChunkLifecycle.ChunkAndGroup, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let groups = chunks.groups
    let chunk = new.chunk
    let item = chunk.item
    try chunks.preparePaths(
      to: chunk, new.group, trees: trees, deviceKey: deviceKey, in: handle)
    for stripe in item.stripes {
      let extent = DeviceExtent(
        chunkOffset: chunk.start, length: chunk.length,
        chunkTreeUUID: groups.geometry.chunkTreeUUID)
      let key = Key(stripe.deviceID.objectID, .devExtent, stripe.offset.rawValue)
      try trees.device.insert(key, size: DeviceExtent.size, in: handle) { extent.encode(into: $0) }
    }
    try trees.chunk.insert(
      Key(.firstChunkTree, .chunkItem, chunk.start.rawValue), size: item.size, in: handle
    ) { item.encode(into: $0) }

    let added = chunk.length * UInt64(item.stripes.count)
    let bytesUsed = chunks.addDeviceBytes(added)
    try trees.chunk.setDeviceBytesUsed(bytesUsed, deviceKey, in: handle)

    let groupItem = BlockGroupItem(used: 0, flags: item.flags)
    try groups.itemTree.insert(
      BlockGroupItems.key(new.group), size: BlockGroupItem.size, in: handle
    ) { groupItem.encode(into: $0) }
    new.group.state.withLock { $0.writtenUsed = 0 }
    // Its free space has to be recorded, though nothing may be in it.
    if groups.notesChanges { groups.listAsDirty(new.group) }
  }
}

extension Tree {
  /// Changes the chunk tree's item of a device: how many bytes of it chunks have.
  func setDeviceBytesUsed(
    _ bytesUsed: UInt64, _ deviceKey: Key, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let isPresent = try modify(deviceKey, in: handle) { bytes throws(FilesystemError) in
      guard bytes.count == DeviceItem.size else {
        throw .corrupt("a device item of \(bytes.count) bytes")
      }
      bytes.store(bytesUsed, at: 0x10)
      return true
    }
    guard isPresent == true else { throw .corrupt("the chunk tree has no device item") }
  }
}

extension ChunkLifecycle {
  /// Lets the chunk tree's item of the device say another size; the superblock follows with the
  /// commit.
  package func setDeviceSize(
    _ bytes: UInt64, trees: Trees, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let key = Key(.devItems, .devItem, allocator.device.rawValue)
    let isPresent = try trees.chunk.modify(key, in: handle) { item throws(FilesystemError) in
      guard item.count == DeviceItem.size else {
        throw .corrupt("a device item of \(item.count) bytes")
      }
      item.store(bytes, at: 0x08)
      return true
    }
    guard isPresent == true else { throw .corrupt("the chunk tree has no device item") }
    didResize(to: bytes)
  }

  /// Makes the paths to all items of a chunk the running transaction's own, so that inserting or deleting
  /// them reads nothing: a read that fails does so before anything is half done. What the handle was used
  /// for before has to be whole.
  package func preparePaths(
    to chunk: Chunk, _ group: BlockGroup, trees: Trees, deviceKey: Key,
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    func prepare(_ tree: Tree, _ key: Key) throws(FilesystemError) {
      _ = try tree.preparePath(to: key, in: handle)
      handle.noteWhole()
    }
    for stripe in chunk.item.stripes {
      try prepare(
        trees.device, Key(stripe.deviceID.objectID, .devExtent, stripe.offset.rawValue))
    }
    try prepare(trees.chunk, Key(.firstChunkTree, .chunkItem, chunk.start.rawValue))
    try prepare(trees.chunk, deviceKey)
    try prepare(groups.itemTree, BlockGroupItems.key(group))
  }

  /// How many items `deleteItems` changes.
  package static let itemsOfRemoval = 8

  /// Takes an empty chunk out of the trees: BLOCK_GROUP_ITEM, CHUNK_ITEM, DEV_EXTENTs, and the
  /// device's bytes_used. It is forgotten when that is durable.
  package func deleteItems(
    of chunk: Chunk, _ group: BlockGroup, trees: Trees, deviceKey: Key,
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    guard try groups.itemTree.delete(BlockGroupItems.key(group), in: handle),
      try trees.chunk.delete(
        Key(.firstChunkTree, .chunkItem, chunk.start.rawValue), in: handle)
    else { throw .corrupt("chunk \(chunk.start) has no item") }
    for stripe in chunk.item.stripes {
      let key = Key(stripe.deviceID.objectID, .devExtent, stripe.offset.rawValue)
      guard try trees.device.delete(key, in: handle) else {
        throw .corrupt("chunk \(chunk.start) has no device extent at \(stripe.offset)")
      }
    }
    didDelete(chunk, group, in: handle.generation)
    try trees.chunk.setDeviceBytesUsed(deviceBytesUsed, deviceKey, in: handle)
  }
}

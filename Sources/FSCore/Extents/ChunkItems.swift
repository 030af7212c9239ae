/// The commit's part that tells the trees of new chunks: CHUNK_ITEM, DEV_EXTENTs, the device's
/// bytes_used, BLOCK_GROUP_ITEM.
package struct ChunkItems: CommitParticipant {
  let space: SpaceManager

  package init(space: SpaceManager) { self.space = space }

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
    item.bytesUsed = space.registry.withLock { $0.deviceBytesUsed }
    superblock.setDeviceItem(item)
    try superblock.setSystemChunks(space.systemChunks)
  }

  package func brokenInvariants() -> [String] {
    let used = space.registry.withLock { $0.new }.filter { $0.group.used > 0 }
    return used.map { "the trees do not know chunk \($0.chunk.start), which holds extents" }
  }

  private func insertNew(in handle: borrowing TransactionHandle) throws(FilesystemError) -> Bool {
    var hasChanged = false
    while let new = space.registry.withLock({ $0.new.isEmpty ? nil : $0.new.removeFirst() }) {
      do throws(FilesystemError) {
        try insert(new, in: handle)
      } catch {
        // When nothing was changed the next commit tries again.
        if !handle.isHalfDone { space.registry.withLock { $0.new.insert(new, at: 0) } }
        throw error
      }
      handle.noteWhole()
      hasChanged = true
    }
    return hasChanged
  }

  private func insert(
    _ new: SpaceManager.NewGroup, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let trees = space.trees
    let chunk = new.chunk
    let item = chunk.item
    for stripe in item.stripes {
      let extent = DeviceExtent(
        chunkOffset: chunk.start, length: chunk.length,
        chunkTreeUUID: space.geometry.chunkTreeUUID)
      let key = Key(stripe.deviceID.objectID, .devExtent, stripe.offset.rawValue)
      try trees.device.insert(key, size: DeviceExtent.size, in: handle) { extent.encode(into: $0) }
    }
    try trees.chunk.insert(
      Key(.firstChunkTree, .chunkItem, chunk.start.rawValue), size: item.size, in: handle
    ) { item.encode(into: $0) }

    let added = chunk.length * UInt64(item.stripes.count)
    let bytesUsed = space.registry.withLock { registry in
      registry.deviceBytesUsed += added
      return registry.deviceBytesUsed
    }
    let isPresent = try trees.chunk.modify(
      space.deviceKey, in: handle
    ) { bytes throws(FilesystemError) in
      guard bytes.count == DeviceItem.size else {
        throw .corrupt("a device item of \(bytes.count) bytes")
      }
      bytes.store(bytesUsed, at: 0x10)
      return true
    }
    guard isPresent == true else { throw .corrupt("the chunk tree has no device item") }

    let groupItem = BlockGroupItem(used: 0, flags: item.flags)
    try space.groupItemTree.insert(
      BlockGroupItems.key(new.group), size: BlockGroupItem.size, in: handle
    ) { groupItem.encode(into: $0) }
    new.group.state.withLock { $0.writtenUsed = 0 }
    // Its free space has to be recorded, though nothing may be in it.
    if space.notesChanges { space.listAsDirty(new.group) }
  }
}

extension SpaceManager {
  /// The system chunks that the chunk tree knows, for the superblock's array.
  var systemChunks: [(start: LogicalAddress, item: ChunkItem)] {
    let unknown = registry.withLock { Set($0.new.map(\.group.start)) }
    return chunks.all.filter { $0.item.flags.contains(.system) && !unknown.contains($0.start) }
      .map { ($0.start, $0.item) }
  }
}

/// What a commit does with block groups. All is done under a handle.
extension SpaceManager {
  /// Tells the trees of the chunks that they do not know yet: CHUNK_ITEM, DEV_EXTENTs, the
  /// device's bytes_used, BLOCK_GROUP_ITEM.
  package func insertNewGroups(in h: borrowing TransactionHandle) throws(FilesystemError) {
    while let new = registry.withLock({ $0.new.isEmpty ? nil : $0.new.removeFirst() }) {
      try insert(new, in: h)
    }
  }

  private func insert(
    _ new: NewGroup, in h: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let chunk = new.chunk
    let item = chunk.item
    for stripe in item.stripes {
      let extent = DeviceExtent(
        chunkOffset: chunk.start, length: chunk.length, chunkTreeUUID: geometry.chunkTreeUUID)
      let key = Key(ObjectID(stripe.deviceID), .devExtent, stripe.offset.rawValue)
      try trees.device.insert(key, size: DeviceExtent.size, in: h) { extent.encode(into: $0) }
    }
    try trees.chunk.insert(
      Key(.firstChunkTree, .chunkItem, chunk.start.rawValue), size: item.size, in: h
    ) { item.encode(into: $0) }

    let added = chunk.length * UInt64(item.stripes.count)
    let bytesUsed = registry.withLock { registry in
      registry.deviceBytesUsed += added
      return registry.deviceBytesUsed
    }
    let isPresent = try trees.chunk.modify(deviceKey, in: h) { bytes throws(FilesystemError) in
      guard bytes.count == DeviceItem.size else {
        throw .corrupt("a device item of \(bytes.count) bytes")
      }
      bytes.store(bytesUsed, at: 0x10)
      return true
    }
    guard isPresent == true else { throw .corrupt("the chunk tree has no device item") }

    let groupItem = BlockGroupItem(used: 0, flags: item.flags)
    try trees.extent.insert(
      groupKey(new.group), size: BlockGroupItem.size, in: h
    ) { groupItem.encode(into: $0) }
    new.group.state.withLock { $0.writtenUsed = 0 }
  }

  /// Whether an extent lies in a chunk that the trees do not know yet.
  var hasUsedNewGroups: Bool {
    registry.withLock { $0.new }.contains { $0.group.used > 0 }
  }

  private func groupKey(_ group: BlockGroup) -> Key {
    Key(ObjectID(group.start.rawValue), .blockGroupItem, group.length)
  }

  /// Writes the BLOCK_GROUP_ITEMs whose `used` is not what they say. Doing so copies blocks of
  /// the extent tree, which changes `used` again: called until no reference is pending.
  package func updateBlockGroupItems(
    in h: borrowing TransactionHandle
  ) throws(FilesystemError) {
    try checkFailure()
    for group in dirtyGroups {
      let (used, written) = group.state.withLock { ($0.used, $0.writtenUsed) }
      guard used != written else { continue }
      let isPresent = try trees.extent.modify(
        groupKey(group), in: h
      ) { bytes throws(FilesystemError) in
        guard bytes.count == BlockGroupItem.size else {
          throw .corrupt("a block group item of \(bytes.count) bytes")
        }
        bytes.store(used, at: 0)
        return true
      }
      guard isPresent == true else {
        // A chunk that was made after the last `insertNewGroups`; the next one inserts it.
        if registry.withLock({ $0.new.contains { $0.group === group } }) { continue }
        throw .corrupt("block group \(group.start) has no item")
      }
      group.state.withLock { $0.writtenUsed = used }
      registry.withLock { $0.writtenUsed = $0.writtenUsed - written + used }
    }
  }

  /// Groups that extents entered or left in the running transaction.
  var dirtyGroups: [BlockGroup] { registry.withLock { $0.dirty } }

  /// Takes groups for which all is done off the list of changed ones. Inside the critical
  /// section, after the last change.
  ///
  /// - Parameter keepingCaches: a group without an exact cache stays on the list, so that the
  ///   next commit tries to write one, even if the group does not change.
  func forgetDirtyGroups(
    _ groups: [BlockGroup], keepingCaches: Bool
  ) throws(FilesystemError) {
    try checkFailure()
    let done = groups.filter { !keepingCaches || !$0.wantsCache }
    let starts = Set(done.map(\.start))
    registry.withLock { $0.dirty.removeAll { starts.contains($0.start) } }
    for group in done { group.state.withLock { $0.isListedAsDirty = false } }
  }

  // What the superblock says; taken inside the critical section, after `converge`.

  /// Bytes that extent items cover.
  package var totalUsed: UInt64 { registry.withLock { $0.writtenUsed } }

  /// Bytes of the device that chunks have which the trees know.
  package var deviceBytesUsed: UInt64 { registry.withLock { $0.deviceBytesUsed } }

  /// The system chunks that the chunk tree knows, for the superblock's array.
  package var systemChunks: [(start: LogicalAddress, item: ChunkItem)] {
    let unknown = registry.withLock { Set($0.new.map(\.group.start)) }
    return chunks.all.filter { $0.item.flags.contains(.system) && !unknown.contains($0.start) }
      .map { ($0.start, $0.item) }
  }
}

/// A transaction whose trees will not change any more, and how far it has come on its way to the
/// device.
struct FrozenTransaction {
  /// The last step that is done, with the flush that ends it.
  enum Step: Comparable {
    case nothing, blocks, firstSuperblock
  }

  let superblock: Superblock
  /// The tree blocks that are still to be written.
  var blocks: [TreeBlock]
  var done = Step.nothing

  init(superblock: Superblock, blocks: [TreeBlock]) {
    self.superblock = superblock
    self.blocks = blocks
  }
}

/// Writes a frozen transaction. After `.noRoom` it can be done again, from the step on that is not
/// done.
struct FrozenTransactionWriter {
  let device: LogicalDevice
  let geometry: Geometry
  let blockCache: TreeBlockCache

  func write(
    _ frozen: inout FrozenTransaction, _ clock: CommitClock
  ) throws(FilesystemError) {
    if frozen.done < .blocks {
      try BlockWriter(device: device, geometry: geometry).write(frozen.blocks)
      clock.end(.blocks)
      try device.flush()
      clock.end(.flushes)
      blockCache.didWrite(frozen.blocks)
      frozen.blocks = []
      frozen.done = .blocks
    }

    let superblocks = SuperblockWriter(
      devices: device.devices, items: [try frozen.superblock.deviceItem])
    if frozen.done < .firstSuperblock {
      try superblocks.writeFirst(frozen.superblock, clock: clock)
      frozen.done = .firstSuperblock
    }
    try superblocks.writeCopies(frozen.superblock, clock: clock)
  }
}

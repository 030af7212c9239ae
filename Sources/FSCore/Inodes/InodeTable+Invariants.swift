/// Invariants that run: of some shards at every commit of a debug build, of all where tests ask.
extension InodeTable {
  /// What does not hold of each sixteenth shard: others at each turn. A look at all inodes would
  /// take longer than most commits.
  func brokenInvariants(turn: UInt64) -> [String] {
    stride(from: Int(turn % 16), to: shards.count, by: 16).flatMap { brokenInvariants(ofShard: $0) }
  }

  private func brokenInvariants(ofShard number: Int) -> [String] {
    shards[number].withLock { Self.broken($0) }.map { "shard \(number) of the inode table: \($0)" }
  }

  /// What does not hold of the shards, each by itself, whatever other threads do meanwhile.
  func brokenInvariants() -> [String] {
    shards.indices.flatMap { brokenInvariants(ofShard: $0) }
  }

  private static func broken(_ shard: borrowing Shard) -> [String] {
    var broken: [String] = []
    for (slot, inode) in shard.inodes.enumerated() {
      guard let inode else { continue }
      let id = inode.id
      if shard.slots[id] != slot { broken.append("inode \(id) is not looked for in slot \(slot)") }
      if inode.openCount < 0 { broken.append("inode \(id) is open \(inode.openCount) times") }
    }
    let present = shard.inodes.count { $0 != nil }
    if present != shard.slots.count {
      broken.append("\(present) inodes, of which \(shard.slots.count) can be found")
    }
    let free = Set(shard.freeSlots)
    if free.count != shard.freeSlots.count || free.count != shard.inodes.count - present
      || free.contains(where: { !shard.inodes.indices.contains($0) || shard.inodes[$0] != nil })
    {
      broken.append("\(shard.freeSlots.count) free slots of \(shard.inodes.count)")
    }
    return broken
  }

  /// What does not hold of all together either, and of what inodes are, while no other thread
  /// does anything.
  func brokenInvariantsWhenQuiet() -> [String] {
    var broken = brokenInvariants()
    let inodes = shards.flatMap { $0.withLock { $0.inodes.compactMap { $0 } } }
    if memory.used != inodes.count * Self.inodeBytes {
      broken.append("\(inodes.count) inodes are in memory, \(memory.used) bytes charged")
    }
    let loading = shards.reduce(0) { $0 + $1.withLock { $0.loading.count } }
    if loading > 0 { broken.append("\(loading) inodes are being loaded by nobody") }
    for inode in inodes {
      if inode.isDeleted { broken.append("inode \(inode.id) is deleted and still to be found") }
      if withHolders(of: inode, { inode.isOrphan }), inode.attributes.linkCount > 0 {
        broken.append("inode \(inode.id) is an orphan with a name")
      }
    }
    return broken
  }
}

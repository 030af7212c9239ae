import Logging

/// What a pointer to a tree block says of it, so that a wrong block is found out.
struct BlockReference {
  var address: LogicalAddress
  var generation: Generation
  var level: UInt8
  /// The tree through which the block is reached.
  var tree: TreeID
  /// The key that the pointer carries; nil for a root.
  var firstKey: Key?
}

/// The tree blocks in memory, by logical address. Lock rank: `blockCache`, one lock a shard.
///
/// 1. Clean blocks take no more than the budget, give or take one a shard; blocks that are not
///    on the device yet are never dropped.
/// 2. A block that is in use stays valid when it is dropped here: it is only forgotten.
/// 3. No lock is held during IO. Two threads may read the same block; the first to finish wins.
package final class TreeBlockCache: Sendable {
  private struct Shard {
    var blocks: [LogicalAddress: TreeBlock] = [:]
    /// Addresses in the order of their insertion, for the second-chance sweep. Those that were
    /// removed meanwhile are skipped.
    var ring: [LogicalAddress] = []
    var hand = 0
    var dirty: [LogicalAddress: TreeBlock] = [:]
  }

  private static let shardCount = 16
  private let shards: [Guarded<Shard>]
  private let blocksPerShard: Int
  private let device: LogicalDevice
  package let geometry: Geometry
  private let log: Logger

  /// The generation of the last commit; nothing on the device is newer than the next one.
  nonisolated(unsafe) var superGeneration: Generation
  let canRepair: Bool

  package init(
    device: LogicalDevice, geometry: Geometry, superGeneration: Generation, budgetBytes: Int,
    canRepair: Bool, log: Logger
  ) {
    self.device = device
    self.geometry = geometry
    self.superGeneration = superGeneration
    self.canRepair = canRepair
    self.log = log
    blocksPerShard = max(budgetBytes / geometry.nodeBytes / Self.shardCount, 16)
    shards = (0..<Self.shardCount).map { _ in Guarded(Shard(), rank: .blockCache) }
  }

  @inline(__always)
  private func shard(_ address: LogicalAddress) -> Guarded<Shard> {
    let number = address.rawValue / geometry.sectorSize
    return shards[Int(truncatingIfNeeded: (number ^ (number >> 4)) % UInt64(Self.shardCount))]
  }

  /// The block if it is in memory and is what `reference` says.
  func cached(_ reference: BlockReference) throws(FilesystemError) -> TreeBlock? {
    let found = shard(reference.address).withLock { shard -> TreeBlock? in
      guard let block = shard.blocks[reference.address] else { return nil }
      block.wasUsed = true
      return block
    }
    guard let found else { return nil }
    try check(found, reference)
    return found
  }

  /// The block, from the device if need be. Hold no tree's lock.
  func load(_ reference: BlockReference) throws(FilesystemError) -> TreeBlock {
    if let block = try cached(reference) { return block }
    let block = try read(reference)
    return insert(block)
  }

  /// Adds a block unless there is one at its address; returns the one that counts.
  private func insert(_ block: TreeBlock) -> TreeBlock {
    shard(block.address).withLock { shard in
      if let present = shard.blocks[block.address] { return present }
      add(block, to: &shard)
      return block
    }
  }

  private func add(_ block: TreeBlock, to shard: inout Shard) {
    shard.blocks[block.address] = block
    shard.ring.append(block.address)
    sweep(&shard)
  }

  /// Forgets clean blocks that were not used since the last time round.
  private func sweep(_ shard: inout Shard) {
    var steps = 0
    while shard.blocks.count - shard.dirty.count > blocksPerShard, steps < 2 * shard.ring.count {
      steps += 1
      if shard.hand >= shard.ring.count { shard.hand = 0 }
      let address = shard.ring[shard.hand]
      guard let block = shard.blocks[address] else {
        shard.ring.swapRemove(at: shard.hand)
        continue
      }
      if block.isDirty {
        shard.hand += 1
      } else if block.wasUsed {
        block.wasUsed = false
        shard.hand += 1
      } else {
        shard.blocks[address] = nil
        shard.ring.swapRemove(at: shard.hand)
      }
    }
    // Addresses that were removed and not met by the hand must not pile up.
    if shard.ring.count > 2 * shard.blocks.count + 64 {
      shard.ring = Array(shard.blocks.keys)
      shard.hand = 0
    }
  }

  /// Adds a block that the running transaction has made.
  func insertNew(_ block: TreeBlock) {
    shard(block.address).withLock { shard in
      block.isDirty = true
      shard.dirty[block.address] = block
      shard.blocks[block.address] = block
      shard.ring.append(block.address)
      sweep(&shard)
    }
  }

  /// Says that a block of the running transaction changes. Its tree's exclusive lock is held,
  /// so nobody else changes `isDirty` of this block.
  func markDirty(_ block: TreeBlock) {
    if block.isDirty { return }
    shard(block.address).withLock { shard in
      block.isDirty = true
      shard.dirty[block.address] = block
      shard.blocks[block.address] = block
    }
  }

  /// Forgets a block that is no longer part of any tree.
  package func drop(_ address: LogicalAddress) {
    shard(address).withLock { shard in
      shard.blocks[address] = nil
      shard.dirty[address]?.isDirty = false
      shard.dirty[address] = nil
    }
  }

  // Writing.

  var dirtyBytes: Int {
    shards.reduce(0) { $0 + $1.withLock { $0.dirty.count } } * geometry.nodeBytes
  }

  /// All dirty blocks by ascending address; from here on the caller sees to their being
  /// written, and they stay in memory until `didWrite`.
  func takeDirty() -> [TreeBlock] {
    var blocks: [TreeBlock] = []
    for shard in shards {
      shard.withLock { shard in
        blocks.append(contentsOf: shard.dirty.values)
      }
    }
    return blocks.sorted { $0.address < $1.address }
  }

  /// These blocks are on the device as they are in memory.
  func didWrite(_ blocks: [TreeBlock]) {
    for block in blocks {
      shard(block.address).withLock { shard in
        guard shard.dirty[block.address] === block else { return }
        block.isDirty = false
        shard.dirty[block.address] = nil
      }
    }
  }

  // Reading.

  private func check(
    _ block: TreeBlock, _ reference: BlockReference
  ) throws(FilesystemError) {
    guard block.generation == reference.generation else {
      throw .corrupt(
        "tree \(reference.tree): block \(reference.address) has generation \(block.generation), "
          + "its parent says \(reference.generation)")
    }
    guard block.level == reference.level else {
      throw .corrupt(
        "tree \(reference.tree): block \(reference.address) has level \(block.level), "
          + "its parent says \(reference.level)")
    }
    if let key = reference.firstKey {
      guard block.count > 0, block.firstKey == key else {
        throw .corrupt(
          "tree \(reference.tree): block \(reference.address) begins with another key than "
            + "its parent says")
      }
    }
    let isOwnerRight =
      reference.tree.isShareable ? block.owner.isShareable : block.owner == reference.tree
    guard isOwnerRight else {
      throw .corrupt(
        "tree \(reference.tree): block \(reference.address) belongs to tree \(block.owner)")
    }
  }

  /// Reads a block, from another copy if one is bad; a bad copy is written anew when another
  /// is good.
  private func read(_ reference: BlockReference) throws(FilesystemError) -> TreeBlock {
    guard reference.address.rawValue % geometry.sectorSize == 0 else {
      throw .corrupt("tree \(reference.tree): a pointer to \(reference.address)")
    }
    let copies = try device.copies(at: reference.address)
    var badCopies: [Int] = []
    var firstError: FilesystemError?

    for copy in 0..<copies {
      let buffer = AlignedBuffer(count: geometry.nodeBytes)
      do throws(FilesystemError) {
        try device.read(into: buffer.bytes, at: reference.address, copy: copy)
        try verify(buffer, reference)
        let block = TreeBlock(adopting: buffer)
        try check(block, reference)
        repair(badCopies, from: block, reason: firstError)
        return block
      } catch {
        badCopies.append(copy)
        firstError = firstError ?? error
      }
    }
    log.error("tree block \(reference.address): \(firstError.map { "\($0)" } ?? "no copy")")
    throw firstError ?? .corrupt("tree block \(reference.address) has no copy")
  }

  private func verify(
    _ buffer: AlignedBuffer, _ reference: BlockReference
  ) throws(FilesystemError) {
    guard geometry.checksumType.isSealed(buffer.readable) else {
      throw .checksum(
        what: "tree block of tree \(reference.tree)", address: reference.address.rawValue)
    }
    let header = BlockHeader(buffer.readable.bytes)
    guard header.address == reference.address, header.fsid == geometry.fsid else {
      throw .corrupt("tree \(reference.tree): block \(reference.address) is not itself")
    }
    guard header.level <= Format.maximumLevel else {
      throw .corrupt("tree \(reference.tree): block \(reference.address) has level \(header.level)")
    }
    try BlockValidation.check(
      buffer.readable, geometry: geometry, address: reference.address,
      superGeneration: superGeneration)
  }

  private func repair(_ badCopies: [Int], from block: TreeBlock, reason: FilesystemError?) {
    guard !badCopies.isEmpty else { return }
    let why = reason.map { "\($0)" } ?? "unreadable"
    guard canRepair else {
      log.warning("tree block \(block.address): using another copy, one is bad: \(why)")
      return
    }
    for copy in badCopies {
      do throws(FilesystemError) {
        try device.writeCopy(block.buffer.readable, at: block.address, copy: copy)
        log.warning("tree block \(block.address): copy \(copy) was bad and is repaired: \(why)")
      } catch {
        log.error("tree block \(block.address): copy \(copy) cannot be repaired: \(error)")
      }
    }
  }
}

extension Array {
  /// Removes an element, without keeping the order.
  mutating func swapRemove(at index: Int) {
    swapAt(index, count - 1)
    removeLast()
  }
}

import Logging
import Synchronization

/// What a pointer to a tree block says of it, so that a wrong block is found out.
struct BlockReference {
  var address: LogicalAddress
  var generation: Generation
  var level: UInt8
  /// The tree through which the block is reached.
  var tree: TreeID
  /// The key that the pointer carries; nil for a root.
  var firstKey: Key?

  /// Whether the block may say that it belongs to `owner`. Snapshots share blocks, which keep the id
  /// of the tree that made them.
  @inline(__always)
  func mayBelong(to owner: TreeID) -> Bool {
    owner == tree || tree.kind.isShareable && owner.kind.isShareable
  }
}

/// The tree blocks in memory, by logical address. Lock rank: `blockCache`, one lock a shard.
///
/// 1. Clean blocks take no more than the budget leaves them, give or take a few a shard; blocks
///    that are not on the device yet are never dropped. Both are charged to the budget; a block that
///    a commit is writing stays charged to the end of that, though no tree may have it any more.
/// 2. A block that is in use stays valid when it is dropped here: it is only forgotten.
/// 3. No lock is held during IO. Two threads may read the same block; the first to finish wins.
package final class TreeBlockCache: Sendable {
  private struct Shard {
    var blocks = NumberTable<LogicalAddress, TreeBlock>()
    /// Addresses of clean blocks in the order of their insertion, for the second-chance sweep.
    /// Those that were removed meanwhile are skipped.
    var ring: [LogicalAddress] = []
    var hand = 0
    var dirty: [LogicalAddress: TreeBlock] = [:]
    /// How often a block that was asked for was here.
    var hits: UInt64 = 0
  }

  private static let shardCount = 16
  /// So many clean blocks a shard keeps whatever the budget says: more than a search passes
  /// would be gone before it comes back to them.
  private static let leastOfShard = 4

  private let shards: [Guarded<Shard>]
  private let budget: MemoryBudget
  /// What a block takes: its bytes, its object, and what the dictionaries have of it.
  let blockBytes: Int
  package let geometry: Geometry
  /// Entered before a pointer is looked up and left when what it leads to has been read.
  let reuse: ReuseGuard
  private let reader: BlockReader
  let quietReader: BlockReader

  /// The last transaction whose blocks may be on the device.
  var newestOnDevice: Generation { Generation(newest.load(ordering: .acquiring)) }
  private let newest: Atomic<UInt64>
  private let misses = Atomic<UInt64>(0)
  let blocksReadAhead = Atomic<UInt64>(0)

  package init(
    device: LogicalDevice, geometry: Geometry, superGeneration: Generation, budget: MemoryBudget,
    log: Logger
  ) {
    self.geometry = geometry
    reuse = device.reuse
    reader = BlockReader(mirrors: MirroredReader(device: device, log: log), geometry: geometry)
    quietReader = BlockReader(
      mirrors: MirroredReader(device: device, log: nil), geometry: geometry)
    newest = Atomic(superGeneration.rawValue)
    self.budget = budget
    blockBytes = PageMemory.size(holding: geometry.nodeBytes) + 256
    shards = (0..<Self.shardCount).map { _ in Guarded(Shard(), rank: .blockCache) }
  }

  @inline(__always)
  private func shard(_ address: LogicalAddress) -> Guarded<Shard> {
    // Neighbours in different ones. Blocks stand at whole sectors, of 4 KiB at least.
    let number = address.rawValue >> 12
    return shards[Int(truncatingIfNeeded: (number ^ (number >> 4)) % UInt64(Self.shardCount))]
  }

  /// The block if it is in memory and is what `reference` says.
  func cached(_ reference: BlockReference) throws(FilesystemError) -> TreeBlock? {
    let found = shard(reference.address).withLock { shard -> TreeBlock? in
      guard let block = shard.blocks[reference.address] else { return nil }
      if !block.wasUsed { block.wasUsed = true }
      shard.hits &+= 1
      return block
    }
    guard let found else { return nil }
    try check(found, reference)
    return found
  }

  /// The block, from the device if need be. Hold no tree's lock.
  func load(_ reference: BlockReference) throws(FilesystemError) -> TreeBlock {
    if let block = try cached(reference) { return block }
    misses.add(1, ordering: .relaxed)
    return insert(try read(reference, by: reader))
  }

  /// Whether there is a block at this address, whatever it is.
  func isPresent(_ address: LogicalAddress) -> Bool {
    shard(address).withLock { $0.blocks[address] != nil }
  }

  /// The block in memory at this address, whatever it is.
  func anyBlock(at address: LogicalAddress) -> TreeBlock? {
    shard(address).withLock { $0.blocks[address] }
  }

  /// The tree that made the block at this address, if it is in memory.
  func owner(at address: LogicalAddress) -> TreeID? {
    shard(address).withLock { $0.blocks[address]?.owner }
  }

  /// Adds a block unless there is one at its address; returns the one that counts.
  func insert(_ block: TreeBlock) -> TreeBlock {
    shard(block.address).withLock { shard in
      if let present = shard.blocks[block.address] { return present }
      add(block, to: &shard)
      return block
    }
  }

  private func add(_ block: TreeBlock, to shard: inout Shard) {
    budget.cleanBlocks.charge(blockBytes)
    shard.blocks[block.address] = block
    shard.ring.append(block.address)
    sweep(&shard)
  }

  /// Forgets clean blocks that were not used since the last time round.
  private func sweep(_ shard: inout Shard) {
    var steps = 2 * shard.ring.count
    while shard.blocks.count - shard.dirty.count > Self.leastOfShard, isOverBudget, steps > 0 {
      steps -= 1
      if shard.hand >= shard.ring.count { shard.hand = 0 }
      let address = shard.ring[shard.hand]
      guard let block = shard.blocks[address], !block.isDirty else {
        shard.ring.swapRemove(at: shard.hand)
        continue
      }
      if block.wasUsed {
        block.wasUsed = false
        shard.hand += 1
      } else {
        shard.blocks[address] = nil
        shard.ring.swapRemove(at: shard.hand)
        budget.cleanBlocks.giveBack(blockBytes)
      }
    }
    // Addresses that were removed and not met by the hand must not pile up.
    if shard.ring.count > 2 * (shard.blocks.count - shard.dirty.count) + 64 {
      shard.ring = shard.blocks.values.filter { !$0.isDirty }.map(\.address)
      shard.hand = 0
    }
  }

  private var isOverBudget: Bool { budget.cleanBlocks.used > budget.cleanBlockLimit }

  /// Forgets clean blocks until the budget is kept, which others may have taken from since.
  func trim() {
    for shard in shards where isOverBudget { shard.withLock { sweep(&$0) } }
  }

  /// Adds a block that the running transaction has made. It is writable until `takeDirty`.
  func insertNew(_ block: TreeBlock) {
    block.isWritable = true
    shard(block.address).withLock { shard in
      remove(block.address, from: &shard)
      block.isDirty = true
      shard.dirty[block.address] = block
      shard.blocks[block.address] = block
      budget.dirtyBlocks.charge(blockBytes)
      sweep(&shard)
    }
  }

  /// Forgets a block that is no longer part of any tree.
  package func drop(_ address: LogicalAddress) {
    shard(address).withLock { remove(address, from: &$0) }
  }

  private func remove(_ address: LogicalAddress, from shard: inout Shard) {
    guard shard.blocks.removeValue(forKey: address) != nil else { return }
    if let block = shard.dirty.removeValue(forKey: address) {
      block.isDirty = false
      if !block.isBeingWritten { budget.dirtyBlocks.giveBack(blockBytes) }
    } else {
      budget.cleanBlocks.giveBack(blockBytes)
    }
  }

  // Writing.

  /// How many blocks are here.
  var counts: (clean: Int, dirty: Int) {
    shards.reduce(into: (clean: 0, dirty: 0)) { sum, shard in
      shard.withLock {
        sum.clean += $0.blocks.count - $0.dirty.count
        sum.dirty += $0.dirty.count
      }
    }
  }

  /// How many blocks the running transaction has made, as far as is known without a look at them.
  package var dirtyCount: Int { budget.dirtyBlocks.used / blockBytes }

  package var statistics: BlockCacheStatistics {
    let (clean, dirty) = counts
    return BlockCacheStatistics(
      clean: clean, dirty: dirty, bytesPerBlock: blockBytes,
      hits: shards.reduce(0) { sum, shard in sum &+ shard.withLock { $0.hits } },
      misses: misses.load(ordering: .relaxed),
      readAhead: blocksReadAhead.load(ordering: .relaxed))
  }

  /// All dirty blocks by ascending address; from here on the caller sees to their being
  /// written, and they stay in memory until `didWrite`. None of them is changed any more: whoever
  /// would change one copies it. Called while nobody changes a tree.
  func takeDirty() -> [TreeBlock] {
    var blocks: [TreeBlock] = []
    for shard in shards {
      shard.withLock { shard in
        for block in shard.dirty.values {
          block.isBeingWritten = true
          blocks.append(block)
        }
      }
    }
    for block in blocks {
      block.isWritable = false
      block.isMovedTogether = false
    }
    return blocks.sorted { $0.address < $1.address }
  }

  /// These blocks are on the device as they are in memory.
  func didWrite(_ blocks: [TreeBlock]) {
    // Before the first of them can be forgotten and read again.
    if let last = blocks.map(\.generation).max() {
      newest.max(last.rawValue, ordering: .acquiringAndReleasing)
    }
    for block in blocks {
      shard(block.address).withLock { shard in
        block.isBeingWritten = false
        budget.dirtyBlocks.giveBack(blockBytes)
        guard shard.dirty[block.address] === block else { return }
        block.isDirty = false
        shard.dirty[block.address] = nil
        budget.cleanBlocks.charge(blockBytes)
        shard.ring.append(block.address)
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

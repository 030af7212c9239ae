/// How many references to each inode the kernel holds. It gets one with every answer that names
/// an inode, and gives them back several at a time, possibly after it was given new ones.
///
/// 1. An inode's count is what was added, less what was given back; never below 0.
/// 2. All inodes are counted, in memory or not: one may be evicted and loaded again while the
///    kernel refers to it.
/// 3. Beside its count stands whether it was opened since the kernel was given the first of the
///    references that it holds.
/// 4. An inode that is counted costs about 3 bytes when its neighbours are counted too, and at
///    most about 150 when none is: a small part of what the kernel spends on it.
///
/// Lock rank: `leaf`.
package final class LookupCounts: Sendable {
  /// Inodes of one tree with neighbouring numbers.
  private struct Block: Hashable {
    static let size = 32

    let tree: TreeID
    let index: UInt64

    init(_ id: InodeID) {
      tree = id.tree
      index = id.number.rawValue / UInt64(Self.size)
    }
  }

  private struct Shard {
    /// A byte for each inode of a block: the count, of which `isLarge` says that it stands in
    /// `large`, and `wasOpened`. No block is all zeros.
    var blocks: [Block: SIMD32<UInt8>] = [:]
    var large: [InodeID: UInt64] = [:]
  }

  private static let isLarge: UInt8 = 0x7f
  private static let wasOpened: UInt8 = 0x80
  private static let shardCount = 16

  private let shards: [Guarded<Shard>]

  init() {
    shards = (0..<Self.shardCount).map { _ in Guarded(Shard(), rank: .leaf) }
  }

  private func shard(of block: Block) -> Guarded<Shard> {
    let mixed = (block.index ^ (block.tree.rawValue &* 0x9e37)) &* 0x9e37_79b9_7f4a_7c15
    return shards[Int(mixed >> 60)]
  }

  private static func place(of id: InodeID) -> Int { Int(id.number.rawValue % UInt64(Block.size)) }

  /// The kernel is about to be given a reference.
  package func add(_ id: InodeID) {
    let block = Block(id)
    let place = Self.place(of: id)
    shard(of: block).withLock { shard in
      let count = shard.blocks[block, default: .zero].increment(place, to: Self.isLarge)
      guard count == Self.isLarge else { return }
      shard.large[id, default: UInt64(Self.isLarge) - 1] += 1
    }
  }

  /// The kernel has given back `lookups` references. Says whether it holds none any more.
  package func remove(_ id: InodeID, lookups: UInt64) -> Bool {
    let block = Block(id)
    let place = Self.place(of: id)
    return shard(of: block).withLock { shard in
      guard let index = shard.blocks.index(forKey: block) else { return true }
      let byte = shard.blocks.values[index][place]
      let small = byte & Self.isLarge
      let count = small == Self.isLarge ? shard.large[id] ?? UInt64(small) : UInt64(small)
      let left = count > lookups ? count - lookups : 0

      if left >= UInt64(Self.isLarge) {
        shard.large[id] = left
        return false
      }
      if small == Self.isLarge { shard.large[id] = nil }
      shard.blocks.values[index][place] = left == 0 ? 0 : UInt8(left) | byte & Self.wasOpened
      if left == 0, shard.blocks.values[index] == .zero {
        shard.blocks.remove(at: index)
        // A dictionary keeps its memory until it goes itself.
        if shard.blocks.isEmpty { shard.blocks = [:] }
      }
      return left == 0
    }
  }

  /// Takes note that an inode is opened, to which the kernel holds a reference. Says whether it is
  /// the first time since the kernel was given one.
  package func noteOpen(_ id: InodeID) -> Bool {
    let block = Block(id)
    let place = Self.place(of: id)
    return shard(of: block).withLock { shard in
      guard let index = shard.blocks.index(forKey: block) else { return false }
      let byte = shard.blocks.values[index][place]
      guard byte & Self.isLarge != 0, byte & Self.wasOpened == 0 else { return false }
      shard.blocks.values[index][place] = byte | Self.wasOpened
      return true
    }
  }

  /// Whether the kernel holds a reference.
  func contains(_ id: InodeID) -> Bool {
    let block = Block(id)
    return shard(of: block).withLock { shard in
      (shard.blocks[block]?[Self.place(of: id)] ?? 0) > 0
    }
  }
}

extension SIMD32<UInt8> {
  /// Counts the lower bits one up, to `highest` at most; returns the count.
  fileprivate mutating func increment(_ place: Int, to highest: UInt8) -> UInt8 {
    let count = self[place] & highest
    guard count < highest else { return count }
    self[place] += 1
    return count + 1
  }
}

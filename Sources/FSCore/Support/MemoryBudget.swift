import Synchronization

/// What a volume may keep in memory, `cache=`, and how much of it each pool has. Every pool that grows
/// with the work charges here what it holds.
///
/// 1. Each pool but two has a share of its own, and somebody who waits, or commits, or lets
///    something go, when it is used up. A pool may go beyond its share by what a few operations
///    add before they look.
/// 2. Block groups take what they need. Clean tree blocks, which can be dropped at any time, have what the others leave, but for a
///    sixteenth that stays free; and a sixteenth of the whole at least.
/// 3. Not charged: what does not grow with the work, and what each thread has in hand.
package final class MemoryBudget: Sendable {
  package let totalBytes: Int

  /// Tree blocks that are not on the device: of the running transaction, and of the one that
  /// is being written.
  package let dirtyBlocks: MemoryShare

  /// Tree blocks that are on the device too.
  package let cleanBlocks: MemoryShare

  /// Data that was written and is not on the device.
  package let fileData: MemoryShare

  /// Inodes, those in use included.
  package let inodes: MemoryShare

  /// Changes of references that are not in the extent tree.
  package let references: MemoryShare

  /// Open trees of subvolumes, each with its root block.
  package let trees: MemoryShare

  /// Where block groups are free.
  package let freeSpace: MemoryShare

  /// Block groups and their chunks, but for where they are free. They cannot be let go of, so that
  /// on an image with very many of them less is left for clean tree blocks.
  package let groups: MemoryShare

  package init(totalBytes: UInt64) {
    let total = Int(clamping: totalBytes)
    self.totalBytes = total
    dirtyBlocks = MemoryShare(limit: total / 16 * 6)
    fileData = MemoryShare(limit: max(total / 16 * 4, 2 << 20))
    inodes = MemoryShare(limit: total / 16 * 2)
    references = MemoryShare(limit: total / 16)
    trees = MemoryShare(limit: total / 32)
    freeSpace = MemoryShare(limit: total / 32)
    groups = MemoryShare(limit: total)
    cleanBlocks = MemoryShare(limit: total)
  }

  /// What clean blocks may take now.
  var cleanBlockLimit: Int {
    let others =
      dirtyBlocks.used + fileData.used + inodes.used + references.used + trees.used
      + freeSpace.used + groups.used
    return max(totalBytes / 16 * 15 - others, totalBytes / 16)
  }

  /// Whether it is time to begin a commit: what only a commit lets go has taken a good part of
  /// its share.
  var wantsCommit: Bool {
    dirtyBlocks.used > dirtyBlocks.limit / 3 * 2 || references.used > references.limit / 2
  }

  /// Whether whoever adds to that has to wait for a commit.
  var requiresCommit: Bool {
    dirtyBlocks.used > dirtyBlocks.limit || references.used > references.limit
  }
}

/// One pool's part of a budget.
package final class MemoryShare: Sendable {
  package let limit: Int
  private let bytes = Atomic<Int>(0)

  init(limit: Int) { self.limit = limit }

  /// What is charged now, in bytes.
  package var used: Int { bytes.load(ordering: .relaxed) }

  func charge(_ count: Int) { bytes.add(count, ordering: .relaxed) }

  func giveBack(_ count: Int) { bytes.subtract(count, ordering: .relaxed) }
}

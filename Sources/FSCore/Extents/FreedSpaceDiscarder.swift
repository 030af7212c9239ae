import Logging
import Synchronization

/// The commit's part that lets the device go of what a transaction has freed, when it is mounted with
/// `discard`. It stands before `BlockGroupItems`, which makes that space allocatable.
///
/// 1. Space is discarded when the commit that freed it is durable, and all readers that may look there
///    have left; and before any of it can be allocated.
/// 2. Ranges below `shortest` stay: a hole of one tree block, which is used again soon, costs more than
///    it brings. `SpaceTrimmer` takes those, too.
/// 3. An error costs nothing but the discard. Where the device cannot do it, it is tried no more.
package final class FreedSpaceDiscarder: CommitParticipant {
  static let shortest: UInt64 = 64 << 10

  private let groups: BlockGroupRegistry
  private let device: LogicalDevice
  private let log: Logger
  private let isOver = Atomic<Bool>(false)

  package init(groups: BlockGroupRegistry, device: LogicalDevice, log: Logger) {
    self.groups = groups
    self.device = device
    self.log = log
  }

  package func settle(
    in handle: borrowing TransactionHandle, _ context: borrowing CommitContext, round: Int
  ) throws(FilesystemError) -> Bool { false }

  package func didCommit(_ generation: Generation) {
    if isOver.load(ordering: .relaxed) { return }
    let freed = groups.pinnedRanges(upTo: generation, atLeast: Self.shortest)
    if freed.isEmpty { return }
    groups.itemTree.context.cache.reuse.waitForEarlierReaders()
    for range in freed {
      do throws(FilesystemError) {
        try device.discard(range.length, at: range.start)
      } catch {
        isOver.store(true, ordering: .relaxed)
        log.warning("free space is not discarded any more: \(error)")
        return
      }
    }
  }
}

import Synchronization

/// What is told how the use of space changes as extents enter and leave the extent tree.
///
/// All are called with the lock of rank `.extentReferences` held, `abandon` also with a tree's.
package protocol ExtentSpaceAccounting: AnyObject, Sendable {
  /// A reference is about to be applied through this handle.
  func creditReference(to handle: borrowing TransactionHandle)

  /// The extent has its item.
  func extentInserted(
    _ address: LogicalAddress, length: UInt64, isMetadata: Bool,
    in h: borrowing TransactionHandle)

  /// The extent has lost its item. Its space is pinned until the commit.
  func extentFreed(
    _ address: LogicalAddress, length: UInt64, isMetadata: Bool,
    in h: borrowing TransactionHandle)

  /// The extent was allocated in this transaction and never got an item; no reader knows it.
  func abandon(_ address: LogicalAddress, length: UInt64)

  /// The extent was allocated in this transaction and never got an item, but a file referred to
  /// it. Its space is pinned until the commit, as that of other freed extents.
  func discard(_ address: LogicalAddress, length: UInt64, in handle: borrowing TransactionHandle)
}

/// What removes the checksums of data that is no more.
package protocol DataChecksumRemoval: AnyObject, Sendable {
  /// Removes some of the checksums of [address, +length), as one whole change. False when there was
  /// none left.
  func removePart(
    from address: LogicalAddress, length: UInt64, in h: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool
}

/// Data that has lost its last reference, and whose checksums are still there.
struct FreedData {
  var address: LogicalAddress
  var length: UInt64
  /// The extent never had an item.
  var isAbandoned: Bool
}

/// The changes of extents' references that are not in the extent tree yet.
///
/// Changing the extent tree copies blocks of it, which allocates and frees blocks, which changes
/// the extent tree. So changes are only noted where they arise, in memory and under whatever
/// lock; `run` applies them later, and the changes that this makes, until there are none.
///
/// Invariants:
/// 1. An extent's references are those in the extent tree plus those noted here. `lock` (rank
///    `.extentReferences`) is held while a change moves from here into the tree, so that
///    whoever holds it sees each change exactly once.
/// 2. A head is in the queue only if it has something to apply. `pendingCount` counts them, and
///    freed data whose checksums could not be removed.
/// 3. When a reference is replaced by another, the new one is added before the old is dropped.
/// 4. A tree block that is allocated and freed before its item was made leaves no trace: its
///    space is free again at once. Data waits for the next `run`, since its checksums have to
///    go first.
/// 5. No tree but the extent tree is touched while `lock` is held.
/// 6. No change is lost: what `run` cannot apply is noted again, unless it was half applied, which
///    aborts the volume.
package final class DelayedReferences: ExtentReferences {
  struct Queue {
    /// What a head takes, about, and each of its changes beyond the first: a hash table is half empty
    /// on average.
    static let headBytes = 2 * (MemoryLayout<(LogicalAddress, DelayedHead)>.stride + 8)
    /// Room that is kept while there are none.
    static let usualCount = 4096

    fileprivate(set) var heads: [LogicalAddress: DelayedHead] = [:]
    /// An error came before all checksums were removed.
    fileprivate(set) var unfinished: [FreedData] = []
    let memory: MemoryShare
    let demand: SpaceDemand
  }

  /// What `lock` guards: the order in which heads are applied.
  struct Pass {
    /// Addresses that had a head when the pass began, ascending.
    var addresses: [LogicalAddress] = []
    var position = 0
  }

  let geometry: Geometry
  let extentTree: Tree
  let space: any ExtentSpaceAccounting
  let checksums: (any DataChecksumRemoval)?

  /// Never held while anything else is done than looking at the queue.
  let queue: Guarded<Queue>
  let lock = Guarded(Pass(), rank: .extentReferences)
  /// Data of which references of somebody are gone from the extent tree, but not of all: in the
  /// last commit they are shared still.
  let formerlyShared = Guarded<Set<LogicalAddress>>([], rank: .leaf)
  /// The thread that is in `withReferencesLocked`; 0 when none is.
  let lockHolder = Atomic<UInt>(0)

  /// - Parameters:
  ///   - checksums: what removes the checksums of freed data; nil where there are none.
  ///   - memory: what the noted changes are charged to.
  ///   - demand: told how many extents have changes that are not applied.
  package init(
    geometry: Geometry, extentTree: Tree, space: any ExtentSpaceAccounting,
    checksums: (any DataChecksumRemoval)?, memory: MemoryShare, demand: SpaceDemand
  ) {
    self.geometry = geometry
    self.extentTree = extentTree
    self.space = space
    self.checksums = checksums
    queue = Guarded(Queue(memory: memory, demand: demand), rank: .delayedReferences)
    queue.withLock { $0.heads.reserveCapacity(Queue.usualCount) }
  }

  /// How many extents have changes that are not applied.
  package var pendingCount: Int { queue.withLock { $0.count } }

  /// Takes a block out of the cache, written or not, before its space can be allocated again.
  func dropBlock(_ address: LogicalAddress) { extentTree.context.cache.drop(address) }

}

extension DelayedReferences {
  /// Notes that `count` references of `identity` come (positive) or go (negative). In memory
  /// only; may be called under a tree's lock. What replaces a reference has to be added before
  /// that is dropped.
  ///
  /// - Parameter newExtent: the extent was allocated just now, and this is its first reference.
  package func add(
    _ address: LogicalAddress, _ kind: ExtentKind, _ identity: ReferenceIdentity, count: Int32,
    newExtent: Bool, in h: borrowing TransactionHandle
  ) {
    let isAbandoned = queue.withLock { queue in
      queue.change(address, kind, newExtent: newExtent) {
        $0.add(kind, identity, count: count, newExtent: newExtent)
      }
    }
    if isAbandoned { abandonTreeBlock(address) }
  }

  /// A new tree block is gone before it had an item.
  func abandonTreeBlock(_ address: LogicalAddress) {
    // The cache first: as soon as the space is free another block may stand there.
    dropBlock(address)
    space.abandon(address, length: geometry.nodeSize)
  }

  /// Notes that what the tree block points to names the block and not its owner from now on.
  package func setFullBackref(
    _ address: LogicalAddress, level: UInt8, in h: borrowing TransactionHandle
  ) {
    let kind = ExtentKind.treeBlock(level: level)
    queue.withLock { queue in
      _ = queue.change(address, kind, newExtent: false) { $0.setFullBackref(kind) }
    }
  }
}

extension DelayedReferences.Queue {
  /// Changes the head of `address`, made when there is none, and removes it when nothing is
  /// left to apply. Says whether it was that of a new tree block which is gone now.
  mutating func change(
    _ address: LogicalAddress, _ kind: ExtentKind, newExtent: Bool,
    _ body: (inout DelayedHead) -> Void
  ) -> Bool {
    guard let index = heads.index(forKey: address) else {
      var head = DelayedHead(kind: kind, isNew: newExtent)
      body(&head)
      heads[address] = head
      didAdd(head.weight, ofData: !kind.isTreeBlock)
      return false
    }
    let isData = !heads.values[index].kind.isTreeBlock
    let before = heads.values[index].weight
    body(&heads.values[index])
    let after = heads.values[index].weight
    if after != before { didAdd(after - before, ofData: isData) }
    guard heads.values[index].isSettled else { return false }
    didRemove(after, ofData: isData)
    return heads.remove(at: index).value.isNew
  }

  mutating func take(_ address: LogicalAddress) -> DelayedHead? {
    guard let head = heads.removeValue(forKey: address) else { return nil }
    didRemove(head.weight, ofData: !head.kind.isTreeBlock)
    return head
  }

  /// Notes again what `take` has taken out, before what was added since. Says whether that cancels
  /// out to a new tree block which is gone.
  mutating func putBack(_ taken: DelayedHead, at address: LogicalAddress) -> Bool {
    var head = taken
    let later = heads.removeValue(forKey: address)
    if let later {
      head.add(later)
      didRemove(later.weight, ofData: !later.kind.isTreeBlock)
    }
    if later != nil, head.isSettled { return head.isNew }
    heads[address] = head
    didAdd(head.weight, ofData: !head.kind.isTreeBlock)
    return false
  }

  /// How much there is to apply.
  var count: Int { heads.count + unfinished.count }

  mutating func addUnfinished(_ freed: FreedData) {
    unfinished.append(freed)
    didAdd(1, ofData: true)
  }

  mutating func takeUnfinished() -> FreedData? {
    guard let freed = unfinished.popLast() else { return nil }
    didRemove(1, ofData: true)
    return freed
  }

  private func didAdd(_ weight: Int, ofData isData: Bool) {
    if weight < 0 { return didRemove(-weight, ofData: isData) }
    memory.charge(weight * Self.headBytes)
    demand.addPendingReferences(weight, ofData: isData)
  }

  private func didRemove(_ weight: Int, ofData isData: Bool) {
    memory.giveBack(weight * Self.headBytes)
    demand.addPendingReferences(-weight, ofData: isData)
  }

  /// Lets go of room that many heads have left.
  mutating func shrink() {
    guard heads.isEmpty, heads.capacity > 4 * Self.usualCount else { return }
    heads = [:]
    heads.reserveCapacity(Self.usualCount)
  }
}

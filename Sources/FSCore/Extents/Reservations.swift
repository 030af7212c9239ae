import Synchronization

/// Reservations of space, made before a transaction is joined, and their debits.
///
/// When there is not enough: write buffered data back, if room is only kept for their items; commit,
/// if that is only because many references are pending; load more groups or make a chunk; wait for
/// what other threads have reserved; commit, because that makes what was freed allocatable; give up.
///
/// 1. For each class `free ≥ reserved` whenever a reservation is made, and beyond that ordinary work
///    leaves `globalReserve` and what pending references may cost.
/// 2. Reserving comes first: with no handle open, and no lock of rank `reservation` or above held.
/// 3. What a handle takes is debited to it; a debug build traps where that is more than was reserved.
/// 4. Data are accepted only with room for themselves and for all that their items add to trees. What
///    is kept for that no ordinary work takes. Writing them back copies blocks besides; for that one
///    operation at a time finds room behind a commit, in the global reserve.
///
/// Lock rank: `growth` is `reservation`.
package final class Reservations: Sendable {
  let groups: BlockGroupRegistry
  let chunks: ChunkLifecycle
  let loader: GroupLoader
  package let demand: SpaceDemand
  let commits: CommitRequests

  /// Held while a group is loaded or a chunk made because space ran short.
  let growth = Guarded((), rank: .reservation)
  private let highestLevel = Atomic<Int>(1)

  /// What the running transaction's commit has taken of its reserve, less what references
  /// brought.
  private let commitDrawn = Atomic<Int64>(0)
  /// Tree blocks that were taken beyond what was reserved for them, by purpose.
  package let overdrafts = OverdraftCounts()

  init(
    groups: BlockGroupRegistry, chunks: ChunkLifecycle, loader: GroupLoader, demand: SpaceDemand,
    commits: CommitRequests
  ) {
    self.groups = groups
    self.chunks = chunks
    self.loader = loader
    self.demand = demand
    self.commits = commits
  }

  var data: BlockGroupClass { groups.data }
  var metadata: BlockGroupClass { groups.metadata }
  var isMixed: Bool { groups.geometry.isMixed }

  var policy: ReservationPolicy {
    ReservationPolicy(
      nodeSize: groups.geometry.nodeSize,
      height: UInt64(highestLevel.load(ordering: .relaxed)) + 1, isMixed: isMixed,
      hasFreeSpaceTree: groups.notesChanges)
  }

  /// Takes note of how high trees are: reservations are made for paths of that height.
  package func noteLevel(_ level: UInt8) {
    if Int(level) > highestLevel.load(ordering: .relaxed) {
      highestLevel.store(Int(level), ordering: .relaxed)
    }
  }

  /// Debits a block of a tree other than the chunk tree to the handle.
  func debit(
    _ size: UInt64, for tree: TreeID, to handle: borrowing TransactionHandle
  ) -> SpaceReserve {
    guard handle.debit(size) else {
      overdrafts.note(handle.purpose, tree)
      return .none
    }
    // The commit's reserve is what reservations leave free.
    return handle.purpose == .commit ? .none : .metadata
  }

  /// What is kept for commits and for operations that free space, as statfs tells it.
  package var globalReserve: UInt64 {
    let length = metadata.counters.withLock { $0.length }
    return policy.globalReserve(metadataBytes: length)
  }

  /// Whether the class can do without a part of a group: asked with the counters as they are and as
  /// they would be then. What is allocatable covers all that is reserved, and with what could be
  /// loaded some MiB are left.
  func canSpare(_ group: BlockGroup) -> (_ now: SpaceCounters, _ then: SpaceCounters) -> Bool {
    let policy = self.policy
    let pending = UInt64(pendingCount)
    let isMetadata = group.counters === metadata.counters
    return { [self] now, then in
      var rest = then
      rest.length -= min(group.length, rest.length)
      let kept = isMetadata ? 2 * keptForMetadata(policy, rest, pending, 0) : 0
      let reserved = then.reserved
      let mustStay = then.free < now.free ? reserved + kept : reserved
      return then.free >= mustStay && then.free + then.unloaded >= reserved + kept + (4 << 20)
    }
  }

  /// Whether the class can do without a part of a group for a moment: at least half of what is neither
  /// reserved nor kept back stays. Asked as `canSpare` is.
  func canLend(_ group: BlockGroup) -> (_ now: SpaceCounters, _ then: SpaceCounters) -> Bool {
    let policy = self.policy
    let pending = UInt64(pendingCount)
    let isMetadata = group.counters === metadata.counters
    return { [self] now, then in
      let kept = isMetadata ? keptForMetadata(policy, now, pending, 0) : 0
      let taken = now.reserved + kept
      return now.free >= taken && then.free - min(then.free, taken) >= (now.free - taken) / 2
    }
  }

  /// Makes more of the class's space allocatable: loads a group or makes a chunk. False when
  /// neither is possible.
  func grow(_ members: BlockGroupClass) -> Bool {
    // A new chunk needs space in a system group, which a mount may have failed to load.
    for group in groups.system.groups where group.unloadedFree > 0 { loader.load(group) }
    if let fullest = members.fullestUnloaded {
      loader.load(fullest)
      return true
    }
    return chunks.make(in: members) != nil
  }
}

/// Space for tree blocks.
extension Reservations: MetadataReserver {
  /// Reserves what changing `items` items may take; `releaseMetadata` takes it back. Called with
  /// no handle open and no lock of rank `reservation` or above held.
  package func reserveMetadata(
    items: Int, for purpose: MetadataPurpose
  ) throws(FilesystemError) -> UInt64 {
    let bytes = policy.cost(items: items)
    let mustSucceed = purpose == .freeing || purpose == .acceptedData
    let isOpportune = purpose == .opportune
    let purpose = mustSucceed ? Purpose.reserved : .ordinary
    if tryReserveMetadata(bytes, purpose) { return bytes }
    if isOpportune { throw .noSpace }
    HeldLocks.assertMayWait(below: .reservation)
    if !mustSucceed, reserveBehindWriteBack(bytes) { return bytes }

    var waits = 0
    // Others take what a commit brings, so those that must succeed try more than once or twice.
    let mostWaits = mustSucceed ? 64 : 8
    var relief = CommitRelief(mostCommits: mustSucceed ? 8 : 2)
    if referencesAreHeavy { try commits.commitIfPossible() }
    groups.memory.beginSearch()
    defer { groups.memory.endSearch() }
    while true {
      let hasGrown = growth.withLock { _ in
        tryReserveMetadata(bytes, purpose, isProbe: true) || grow(metadata)
      }
      if tryReserveMetadata(bytes, purpose) { return bytes }
      if hasGrown { continue }
      if waits < mostWaits, waitForReservations() {
        waits += 1
        continue
      }
      let hasHelped = try relief.step(
        commits, commitMayHelp: commitMayHelp(metadata),
        isPlenty: tryReserveMetadata(bytes + metadata.plenty, purpose, isProbe: true))
      if hasHelped { continue }
      if mustSucceed, tryReserveMetadata(bytes, .lastResort) { return bytes }
      if relief.commitCount > 0 { chunks.noteInVain() }
      throw .noSpace
    }
  }

  package func releaseMetadata(_ bytes: UInt64) {
    let mustWake = metadata.counters.withLock { counters in
      counters.reservedMetadata -= min(bytes, counters.reservedMetadata)
      counters.returns &+= 1
      return counters.waiters > 0
    }
    if mustWake { metadata.counters.update { _ in } }
  }

  package func openCommitReserve() -> UInt64 {
    let length = metadata.counters.withLock { $0.length }
    let reserve = Int64(clamping: policy.commitReserve(metadataBytes: length))
    return UInt64(max(reserve - commitDrawn.load(ordering: .relaxed), 0))
  }

  package func closeCommitReserve(opened: UInt64, left: UInt64) {
    let drawn = Int64(clamping: opened) - Int64(clamping: left)
    commitDrawn.add(drawn, ordering: .relaxed)
  }

  /// Gives a handle of the commit what was kept back for the reference that it applies.
  package func creditReference(to handle: borrowing TransactionHandle) {
    handle.credit(policy.bytesPerReference)
  }

  package func renewCommitReserve() { commitDrawn.store(0, ordering: .relaxed) }

  var pendingCount: Int { demand.pendingReferences }

  /// Whether a good part of what is free is kept for references that a commit would apply: to
  /// make chunks for that bound, which is never used, would be a waste.
  var referencesAreHeavy: Bool {
    let policy = self.policy
    let pending = UInt64(pendingCount)
    guard pending > 2048 else { return false }
    return metadata.counters.withLock { counters in
      policy.referenceCost(pending: pending, metadataUsed: counters.used) > counters.free / 4
    }
  }

  /// Whether something would become allocatable by a commit.
  func commitMayHelp(_ members: BlockGroupClass) -> Bool {
    let isForMetadata = members === metadata
    let pending = isForMetadata ? pendingCount : demand.pendingDataReferences
    return members.counters.withLock { $0.pinned > 0 } || pending > 0
      || chunks.mayGiveBack(for: members)
  }

  /// Whether a commit may help an operation that has found no space, of whichever kind.
  package var mayGainByCommit: Bool {
    if commitMayHelp(data) { return true }
    return !tryReserveMetadata(metadata.plenty, .ordinary, isProbe: true) && commitMayHelp(metadata)
  }

  private enum Purpose {
    /// Leaves the global reserve alone.
    case ordinary
    /// Leaves the commit's part of it alone.
    case reserved
    /// A bound is far above what is used, so on a full volume one thread at a time, right after
    /// a commit, may have all there is: else nothing could be deleted any more.
    case lastResort
  }

  private func tryReserveMetadata(_ bytes: UInt64, _ purpose: Purpose, isProbe: Bool = false)
    -> Bool
  {
    let pending = UInt64(pendingCount)
    let policy = self.policy
    return metadata.counters.withLock { counters in
      let kept =
        switch purpose {
        case .ordinary:
          keptForMetadata(policy, counters, pending, bytes) + counters.reservedItems
        case .reserved:
          policy.commitReserve(metadataBytes: counters.length)
            + policy.referenceCost(pending: pending, metadataUsed: counters.used)
        case .lastResort: counters.reservedMetadata
        }
      guard counters.free >= counters.reservedData + counters.reservedMetadata + bytes + kept else {
        return false
      }
      if !isProbe { counters.reservedMetadata += bytes }
      return true
    }
  }

  /// What ordinary work leaves free, beside what is reserved already.
  func keptForMetadata(
    _ policy: ReservationPolicy, _ counters: SpaceCounters, _ pending: UInt64, _ bytes: UInt64
  ) -> UInt64 {
    // The blocks that are reserved now become references too.
    let coming = (counters.reservedMetadata + bytes) / groups.geometry.nodeSize
    return policy.globalReserve(metadataBytes: counters.length)
      + policy.referenceCost(pending: pending + coming, metadataUsed: counters.used)
  }

  /// Reserves once buffered data are written back, while nothing but what is kept for their items
  /// stands in the way: that is far more than they take. False when it does not come to that.
  private func reserveBehindWriteBack(_ bytes: UInt64) -> Bool {
    guard isHeldUpByItems(bytes) else { return false }
    commits.startWriteBack()
    while true {
      let before = metadata.counters.withLock { counters in
        counters.waiters += 1
        return counters.reservedItems
      }
      // A file whose content this thread holds is not written back, so there is an end to this.
      metadata.counters.wait(atMost: 0.2) { $0.reservedItems < before }
      let after = metadata.counters.withLock { counters in
        counters.waiters -= 1
        return counters.reservedItems
      }
      if tryReserveMetadata(bytes, .ordinary) { return true }
      if after >= before || after == 0 { return false }
    }
  }

  /// Waits until some reservation is given back, a moment at the most; false when there is none.
  private func waitForReservations() -> Bool {
    let before = metadata.counters.withLock { counters -> UInt64? in
      guard counters.reservedMetadata > 0 else { return nil }
      counters.waiters += 1
      return counters.returns
    }
    guard let before else { return false }
    metadata.counters.wait(atMost: 0.2) { $0.returns != before }
    metadata.counters.withLock { $0.waiters -= 1 }
    return true
  }
}

import Synchronization

/// Reservations of space, made before a transaction is joined.
///
/// When there is not enough: commit, if that is only because many references are pending; load
/// more groups or make a chunk; wait for what other threads have reserved; commit, because that
/// makes what was freed allocatable; give up.
extension SpaceManager: MetadataReserver {
  private var policy: ReservationPolicy {
    ReservationPolicy(
      nodeSize: geometry.nodeSize, height: UInt64(highestLevel.load(ordering: .relaxed)) + 1,
      isMixed: geometry.isMixed, hasFreeSpaceTree: notesChanges)
  }

  /// Reserves what changing `items` items may take; `releaseMetadata` takes it back. Called with
  /// no handle open and no lock of rank `reservation` or above held.
  package func reserveMetadata(
    items: Int, for purpose: MetadataPurpose
  ) throws(FilesystemError) -> UInt64 {
    let bytes = policy.cost(items: items)
    let isFreeing = purpose == .freeing
    let purpose = purpose == .ordinary ? Purpose.ordinary : .reserved
    if tryReserveMetadata(bytes, purpose) { return bytes }
    HeldLocks.assertMayWait(below: .reservation)

    var commits = 0
    var waits = 0
    if referencesAreHeavy { try requestCommit?() }
    while true {
      let hasGrown = growth.withLock { _ in
        tryReserveMetadata(bytes, purpose, isProbe: true) || grow(metadata)
      }
      if tryReserveMetadata(bytes, purpose) { return bytes }
      if hasGrown { continue }
      if waits < 8, waitForReservations() {
        waits += 1
        continue
      }
      if commits < 2, commitMayHelp(metadata), let requestCommit {
        commits += 1
        try requestCommit()
        continue
      }
      if isFreeing, tryReserveMetadata(bytes, .lastResort) { return bytes }
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

  private var pendingCount: Int { pendingReferences?() ?? 0 }

  /// Whether a good part of what is free is kept for references that a commit would apply: to
  /// make chunks for that bound, which is never used, would be a waste.
  private var referencesAreHeavy: Bool {
    let policy = self.policy
    let pending = UInt64(pendingCount)
    guard pending > 2048 else { return false }
    return metadata.counters.withLock { counters in
      policy.referenceCost(pending: pending, metadataUsed: counters.used) > counters.free / 4
    }
  }

  /// Whether something would become allocatable by a commit.
  private func commitMayHelp(_ members: BlockGroupClass) -> Bool {
    members.counters.withLock { $0.pinned > 0 } || pendingCount > 0
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
          keptForMetadata(policy, counters, pending, bytes)
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
  private func keptForMetadata(
    _ policy: ReservationPolicy, _ counters: SpaceCounters, _ pending: UInt64, _ bytes: UInt64
  ) -> UInt64 {
    // The blocks that are reserved now become references too.
    let coming = (counters.reservedMetadata + bytes) / geometry.nodeSize
    return policy.globalReserve(metadataBytes: counters.length)
      + policy.referenceCost(pending: pending + coming, metadataUsed: counters.used)
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

  // Data.

  /// Reserves room for data that is accepted now and allocated later. Called with no handle open
  /// and no lock of rank `reservation` or above held. `bytes` is whole sectors.
  package func reserveData(_ bytes: UInt64) throws(FilesystemError) {
    if tryReserveData(bytes) { return }
    HeldLocks.assertMayWait(below: .reservation)

    var commits = 0
    if !geometry.isMixed, dataHasRoom(bytes), referencesAreHeavy { try requestCommit?() }
    while true {
      let hasGrown = growth.withLock { _ in
        if tryReserveData(bytes, isProbe: true) { return true }
        if !dataHasRoom(bytes) { return dataMayGet(bytes) && grow(data) }
        return data !== metadata && grow(metadata)
      }
      if tryReserveData(bytes) { return }
      if hasGrown { continue }
      guard commits < 2, commitMayHelp(data), let requestCommit else { throw .noSpace }
      commits += 1
      try requestCommit()
    }
  }

  package func releaseData(_ bytes: UInt64) {
    data.counters.withLock { $0.reservedData -= min(bytes, $0.reservedData) }
  }

  /// Whether a file of `bytes` may be made now for the record of free space. Legal inside a commit.
  func hasRoomForRecord(_ bytes: UInt64) -> Bool {
    let policy = self.policy
    let pending = UInt64(pendingCount)
    let hasMetadata = metadata.counters.withLock { counters in
      // What the hidden inode's items take of the root tree, and half of what the commit has.
      let kept =
        policy.referenceCost(pending: pending, metadataUsed: counters.used)
        + policy.commitReserve(metadataBytes: counters.length) / 2 + policy.cost(items: 4)
      let isMixed = geometry.isMixed
      return counters.free >= counters.reservedMetadata + counters.reservedData + kept
        + (isMixed ? bytes : 0)
    }
    guard hasMetadata else { return false }
    return data.counters.withLock { $0.free >= $0.reservedData + $0.reservedMetadata + bytes }
  }

  /// Makes data space allocatable for `bytes` more, if that takes no commit.
  package func makeRoomForRecord(_ bytes: UInt64) {
    growth.withLock { _ in
      while !dataHasRoom(bytes), grow(data) {}
    }
  }

  /// Whether loading and new chunks could ever make that much allocatable. If not, nothing is
  /// begun: a request that is too large would leave no room on the device for metadata.
  private func dataMayGet(_ bytes: UInt64) -> Bool {
    let unallocated = chunkAllocator.unallocated / UInt64(data.profile.copies)
    let counters = data.counters.withLock { $0 }
    return counters.free + counters.unloaded + unallocated
      >= counters.reservedData + counters.reservedMetadata + bytes
  }

  /// Whether a data chunk would have to be made while most of what is buffered is small: once
  /// written back, small files stand in their items and take no data space.
  package func wouldGrowForSmallFiles(_ bytes: UInt64) -> Bool {
    let pieces = UInt64(bufferedPieces?() ?? 0)
    guard pieces > 64 else { return false }
    return data.counters.withLock { counters in
      counters.free < counters.reservedData + counters.reservedMetadata + bytes
        && counters.reservedData <= 2 * geometry.sectorSize * pieces
    }
  }

  private func dataHasRoom(_ bytes: UInt64) -> Bool {
    let policy = self.policy
    let pending = UInt64(pendingCount)
    let itemBytes = itemBytes(ofBuffered: bytes)
    return data.counters.withLock { counters in
      let kept =
        geometry.isMixed ? itemBytes + keptForMetadata(policy, counters, pending, itemBytes) : 0
      return counters.free >= counters.reservedData + counters.reservedMetadata + bytes + kept
    }
  }

  /// What the items of all that is buffered may take, and of `bytes` more, when nobody can be
  /// refused any more.
  private func itemBytes(ofBuffered bytes: UInt64) -> UInt64 {
    let buffered = data.counters.withLock { $0.reservedData } + bytes
    let pieces = UInt64(bufferedPieces?() ?? 0) + bytes / (128 << 10) + 1
    return policy.dataCost(bytes: buffered, pieces: pieces)
  }

  func tryReserveData(_ bytes: UInt64, isProbe: Bool = false) -> Bool {
    let policy = self.policy
    let pending = UInt64(pendingCount)
    let itemBytes = itemBytes(ofBuffered: bytes)
    if !geometry.isMixed {
      let hasMetadata = metadata.counters.withLock { counters in
        let kept = keptForMetadata(policy, counters, pending, 0)
        return counters.free >= counters.reservedMetadata + kept + itemBytes
      }
      guard hasMetadata else { return false }
    }
    return data.counters.withLock { counters in
      let kept =
        geometry.isMixed ? itemBytes + keptForMetadata(policy, counters, pending, itemBytes) : 0
      guard counters.free >= counters.reservedData + counters.reservedMetadata + bytes + kept else {
        return false
      }
      if !isProbe { counters.reservedData += bytes }
      return true
    }
  }

  /// What is kept for commits and for operations that free space, as statfs tells it.
  package var globalReserve: UInt64 {
    let length = metadata.counters.withLock { $0.length }
    return policy.globalReserve(metadataBytes: length)
  }
}

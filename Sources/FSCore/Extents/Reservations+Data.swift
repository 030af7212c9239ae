/// Space for data, which is accepted now and allocated later; and what small files need.
extension Reservations {
  /// Reserves room for data that is accepted now and allocated later. Called with no handle open
  /// and no lock of rank `reservation` or above held. `bytes` is whole sectors.
  package func reserveData(_ bytes: UInt64) throws(FilesystemError) {
    if tryReserveData(bytes) { return }
    HeldLocks.assertMayWait(below: .reservation)

    var commitCount = 0
    if !isMixed, dataHasRoom(bytes), referencesAreHeavy { try commits.commit() }
    while true {
      let hasGrown = growth.withLock { _ in
        if tryReserveData(bytes, isProbe: true) { return true }
        if !dataHasRoom(bytes) { return dataMayGet(bytes) && grow(data) }
        return data !== metadata && grow(metadata)
      }
      if tryReserveData(bytes) { return }
      if hasGrown { continue }
      guard commitCount < 2, commitMayHelp(data), commits.canCommit else {
        if commitCount > 0 { chunks.noteInVain() }
        throw .noSpace
      }
      commitCount += 1
      try commits.commitForSpace()
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
      let isMixed = isMixed
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
    let unallocated = chunks.allocator.unallocated / UInt64(data.profile.copies)
    let counters = data.counters.withLock { $0 }
    return counters.free + counters.unloaded + unallocated
      >= counters.reservedData + counters.reservedMetadata + bytes
  }

  /// Whether a data chunk would have to be made while most of what is buffered is small: once
  /// written back, small files stand in their items and take no data space.
  package func wouldGrowForSmallFiles(_ bytes: UInt64) -> Bool {
    let pieces = UInt64(demand.bufferedPieces)
    guard pieces > 64 else { return false }
    return data.counters.withLock { counters in
      counters.free < counters.reservedData + counters.reservedMetadata + bytes
        && counters.reservedData <= 2 * groups.geometry.sectorSize * pieces
    }
  }

  private func dataHasRoom(_ bytes: UInt64) -> Bool {
    let policy = self.policy
    let pending = UInt64(pendingCount)
    let itemBytes = itemBytes(ofBuffered: bytes)
    return data.counters.withLock { counters in
      let kept =
        isMixed ? itemBytes + keptForMetadata(policy, counters, pending, itemBytes) : 0
      return counters.free >= counters.reservedData + counters.reservedMetadata + bytes + kept
    }
  }

  /// What the items of all that is buffered may take, and of `bytes` more, when nobody can be
  /// refused any more.
  private func itemBytes(ofBuffered bytes: UInt64) -> UInt64 {
    let buffered = data.counters.withLock { $0.reservedData } + bytes
    let pieces = UInt64(demand.bufferedPieces) + bytes / (128 << 10) + 1
    return policy.dataCost(bytes: buffered, pieces: pieces)
  }

  func tryReserveData(_ bytes: UInt64, isProbe: Bool = false) -> Bool {
    let policy = self.policy
    let pending = UInt64(pendingCount)
    let itemBytes = itemBytes(ofBuffered: bytes)
    if !isMixed {
      let hasMetadata = metadata.counters.withLock { counters in
        let kept = keptForMetadata(policy, counters, pending, 0)
        return counters.free >= counters.reservedMetadata + kept + itemBytes
      }
      guard hasMetadata else { return false }
    }
    return data.counters.withLock { counters in
      let kept =
        isMixed ? itemBytes + keptForMetadata(policy, counters, pending, itemBytes) : 0
      guard counters.free >= counters.reservedData + counters.reservedMetadata + bytes + kept else {
        return false
      }
      if !isProbe { counters.reservedData += bytes }
      return true
    }
  }
}

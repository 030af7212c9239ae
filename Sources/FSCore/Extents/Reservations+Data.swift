/// Space for data, which is accepted now and allocated later; and what small files need.
extension Reservations {
  /// Reserves room for data that is accepted now and allocated later, and for what its items add
  /// to trees (`itemCost`). Called with no handle open and no lock of rank `reservation` or above
  /// held. `bytes` is whole sectors.
  ///
  /// - Parameter isPatient: false where the caller can write buffered data back and try again: that
  ///   comes before a chunk is made for what is kept for the items of these data.
  package func reserveData(
    _ bytes: UInt64, items: UInt64, isPatient: Bool = true
  ) throws(FilesystemError) {
    try commits.requireMemory()
    if tryReserve(bytes, items) { return }
    HeldLocks.assertMayWait(below: .reservation)
    if !isPatient, dataHasRoom(bytes, items), isHeldUpByItems(items) { throw .noSpace }

    var relief = CommitRelief(mostCommits: 2)
    if !isMixed, dataHasRoom(bytes, items), referencesAreHeavy {
      try commits.commitIfPossible()
    }
    groups.memory.beginSearch()
    defer { groups.memory.endSearch() }
    while true {
      let hasGrown = growth.withLock { _ in
        if tryReserve(bytes, items, isProbe: true) { return true }
        if !dataHasRoom(bytes, items) { return dataMayGet(bytes) && grow(data) }
        return !isMixed && grow(metadata)
      }
      if tryReserve(bytes, items) { return }
      if hasGrown { continue }
      let lacksData = !dataHasRoom(bytes, items)
      let (moreBytes, moreItems) = lacksData ? (data.plenty, 0) : (0, metadata.plenty)
      let hasHelped = try relief.step(
        commits, commitMayHelp: commitMayHelp(lacksData ? data : metadata),
        isPlenty: tryReserve(bytes + moreBytes, items + moreItems, isProbe: true))
      if hasHelped { continue }
      if relief.commitCount > 0 { chunks.noteInVain() }
      throw .noSpace
    }
  }

  /// The same for data that goes where it stands already, so that only its items need room.
  package func reserveItems(_ items: UInt64) throws(FilesystemError) {
    try reserveData(0, items: items)
  }

  /// What the items of buffered data may add to trees, in bytes.
  package func itemCost(bytes: UInt64, pieces: UInt64) -> UInt64 {
    policy.itemCost(bytes: bytes, pieces: pieces)
  }

  package func releaseData(_ bytes: UInt64) {
    data.counters.withLock { $0.reservedData -= min(bytes, $0.reservedData) }
  }

  package func releaseItems(_ items: UInt64) {
    let mustWake = metadata.counters.withLock { counters in
      counters.reservedItems -= min(items, counters.reservedItems)
      return counters.waiters > 0
    }
    if mustWake { metadata.counters.update { _ in } }
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
      return counters.free >= counters.reserved + kept + (isMixed ? bytes : 0)
    }
    guard hasMetadata else { return false }
    return data.counters.withLock { $0.free >= $0.reserved + bytes }
  }

  /// Each commit may look for a run: it must not load the whole volume in vain.
  private static let loadsForARun = 8

  /// Makes data space allocatable for `bytes` more, if that takes no commit, with a run of `longest`
  /// bytes, if loading a few groups brings one.
  package func makeRoomForRecord(_ bytes: UInt64, longest: UInt64) {
    growth.withLock { _ in
      while !dataHasRoom(bytes, 0), grow(data) {}
      for _ in 0..<Self.loadsForARun where data.groupWithLongestRun(atLeast: longest) == nil {
        guard let unloaded = data.fullestUnloaded else { return }
        loader.load(unloaded)
      }
    }
  }

  /// Whether loading and new chunks could ever make that much allocatable. If not, nothing is
  /// begun: a request that is too large would leave no room on the device for metadata.
  private func dataMayGet(_ bytes: UInt64) -> Bool {
    let unallocated = chunks.allocator.unallocated / UInt64(data.profile.copies)
    let counters = data.counters.withLock { $0 }
    return counters.free + counters.unloaded + unallocated
      >= counters.reserved + bytes
  }

  /// Whether a data chunk would have to be made while most of what is buffered is small: once
  /// written back, small files stand in their items and take no data space.
  package func wouldGrowForSmallFiles(_ bytes: UInt64) -> Bool {
    let pieces = UInt64(demand.bufferedPieces)
    guard pieces > 64 else { return false }
    return data.counters.withLock { counters in
      counters.free < counters.reserved + bytes
        && counters.reservedData <= 2 * groups.geometry.sectorSize * pieces
    }
  }

  private func dataHasRoom(_ bytes: UInt64, _ items: UInt64) -> Bool {
    let policy = self.policy
    let pending = UInt64(pendingCount)
    return data.counters.withLock { counters in
      let kept = isMixed ? items + keptForMetadata(policy, counters, pending, items) : 0
      return counters.free >= counters.reserved + bytes + kept
    }
  }

  /// Whether there would be room for `items` if nothing were kept for the items of buffered data.
  func isHeldUpByItems(_ items: UInt64) -> Bool {
    let policy = self.policy
    let pending = UInt64(pendingCount)
    return metadata.counters.withLock { counters in
      let kept = keptForMetadata(policy, counters, pending, items)
      return counters.reservedItems > 0
        && counters.free >= counters.reservedData + counters.reservedMetadata + items + kept
    }
  }

  private func tryReserve(_ bytes: UInt64, _ items: UInt64, isProbe: Bool = false) -> Bool {
    let policy = self.policy
    let pending = UInt64(pendingCount)
    let dataHere = isMixed ? bytes : 0
    let hasItems = metadata.counters.withLock { counters in
      let kept = keptForMetadata(policy, counters, pending, isMixed ? items : 0)
      guard counters.free >= counters.reserved + dataHere + items + kept else { return false }
      guard !isProbe else { return true }
      counters.reservedItems += items
      counters.reservedData += dataHere
      return true
    }
    guard hasItems, !isMixed, bytes > 0 else { return hasItems }
    let hasRoom = data.counters.withLock { counters in
      guard counters.free >= counters.reserved + bytes else { return false }
      if !isProbe { counters.reservedData += bytes }
      return true
    }
    if !hasRoom, !isProbe { releaseItems(items) }
    return hasRoom
  }
}

import Logging
import Synchronization

/// Handing out space. In memory only; see invariant 3 of `SpaceManager`.
extension SpaceManager: TreeBlockAllocator {
  /// A place for a tree block, in flight until `extentInserted` or `abandon`; debited to the
  /// handle. Called with a tree's lock held. Fails only when more is taken than was reserved.
  package func allocateTreeBlock(
    for tree: TreeID, level: UInt8, in h: borrowing TransactionHandle
  ) throws(FilesystemError) -> LogicalAddress {
    noteLevel(level)
    let members = tree == .chunk ? system : metadata
    let hint = tree == .chunk ? nil : nextPlace(in: h.generation)
    let size = geometry.nodeSize
    let reserve = members === system ? .none : reserve(of: size, tree, h)
    if let address = allocate(
      length: size, alignment: size, in: members, hint: hint, from: reserve)
    {
      if tree != .chunk { cluster.didPlace(address, size) }
      return address
    }

    // What was reserved should have been there. A new chunk costs nothing but memory now, so a
    // misjudged reservation need not abort the volume while the device has room.
    while makeChunk(in: members) != nil {
      if let address = allocate(
        length: size, alignment: size, in: members, hint: nil, from: reserve)
      {
        return address
      }
    }
    log.error("no space for a block of tree \(tree)")
    throw .noSpace
  }

  /// Debits a block to the handle. The chunk tree has space of its own, which `makeChunk` sees to.
  private func reserve(
    of size: UInt64, _ tree: TreeID, _ h: borrowing TransactionHandle
  ) -> SpaceReserve {
    guard h.debit(size) else {
      overdrafts.note(h.purpose, tree)
      return .none
    }
    // The commit's reserve is what reservations leave free.
    return h.purpose == .commit ? .none : .metadata
  }

  private func nextPlace(in generation: Generation) -> LogicalAddress {
    while true {
      if case .at(let address) = cluster.place(in: generation) { return address }
      let length = TreeBlockCluster.blockCount * geometry.nodeSize
      let run = metadata.firstResult(freeAtLeast: length) { $0.firstRun(atLeast: length) }
      cluster.begin(run, in: generation)
    }
  }

  /// Takes note of how high trees are: reservations are made for paths of that height.
  package func noteLevel(_ level: UInt8) {
    if Int(level) > highestLevel.load(ordering: .relaxed) {
      highestLevel.store(Int(level), ordering: .relaxed)
    }
  }

  /// A place for data: `length` bytes in one piece if there is such a piece, else the longest
  /// there is, at least `minimum`. Both are whole sectors. It is in flight until its extent
  /// item is inserted or it is abandoned.
  ///
  /// - Parameter usingReserved: takes what was allocated off what `reserveData` has reserved.
  ///   Whoever passes false calls `releaseData` himself.
  package func allocateData(
    length: UInt64, minimum: UInt64, hint: LogicalAddress?, usingReserved: Bool = false
  ) throws(FilesystemError) -> (LogicalAddress, UInt64) {
    let sectorSize = geometry.sectorSize
    let reserve = usingReserved ? SpaceReserve.data : .none
    precondition(length > 0 && length % sectorSize == 0 && minimum <= length)
    if let address = allocate(
      length: length, alignment: sectorSize, in: data, hint: hint, from: reserve)
    {
      return (address, length)
    }

    let shortest = max(minimum, sectorSize)
    var best: [BlockGroup] = data.groups.filter { $0.freeHint >= shortest }
    best.sort { $0.freeHint > $1.freeHint }
    for group in best {
      if let found = group.allocateUpTo(
        length: length, minimum: shortest, from: reserve)
      {
        return found
      }
    }
    throw .noSpace
  }

  private func allocate(
    length: UInt64, alignment: UInt64, in members: BlockGroupClass, hint: LogicalAddress?,
    from reserve: SpaceReserve
  ) -> LogicalAddress? {
    if let hint, let group = try? group(containing: hint), group.counters === members.counters,
      let address = group.allocate(
        length: length, alignment: alignment, hint: hint, from: reserve)
    {
      return address
    }
    return members.firstResult(freeAtLeast: length) { group in
      group.allocate(
        length: length, alignment: alignment, hint: nil, from: reserve)
    }
  }

  /// Room for a file of the record of free space, in one piece of what nobody has reserved; nil
  /// when there is none. Legal inside a commit.
  package func allocateRecordFile(length: UInt64) -> LogicalAddress? {
    guard hasRoomForRecord(length) else { return nil }
    return allocate(
      length: length, alignment: geometry.sectorSize, in: data, hint: nil, from: .none)
  }
}

/// What delayed references tell.
extension SpaceManager: ExtentSpaceAccounting {
  package func extentInserted(
    _ address: LogicalAddress, length: UInt64, isMetadata: Bool,
    in h: borrowing TransactionHandle
  ) {
    do throws(FilesystemError) {
      let group = try group(containing: address, length)
      list(group, try group.didInsert(address, length), h.generation)
    } catch {
      fail(error)
    }
  }

  package func extentFreed(
    _ address: LogicalAddress, length: UInt64, isMetadata: Bool,
    in h: borrowing TransactionHandle
  ) {
    do throws(FilesystemError) {
      let group = try group(containing: address, length)
      list(group, try group.didFree(address, length, h.generation), h.generation)
    } catch {
      fail(error)
    }
  }

  package func abandon(_ address: LogicalAddress, length: UInt64) {
    do throws(FilesystemError) {
      try group(containing: address, length).abandon(address, length)
    } catch {
      fail(error)
    }
  }

  package func discard(
    _ address: LogicalAddress, length: UInt64, in handle: borrowing TransactionHandle
  ) {
    do throws(FilesystemError) {
      let group = try group(containing: address, length)
      list(
        group, try group.didDiscard(address, length, handle.generation), handle.generation)
    } catch {
      fail(error)
    }
  }

  /// Makes what transactions up to and including `generation` freed allocatable: its commit is
  /// durable.
  package func unpin(_ generation: Generation) {
    let groups = registry.withLock { registry -> [BlockGroup] in
      let due = registry.pinned.keys.filter { $0 <= generation }
      return due.flatMap { registry.pinned.removeValue(forKey: $0) ?? [] }
    }
    for group in groups {
      do throws(FilesystemError) {
        try group.unpin(upTo: generation)
      } catch {
        fail(error)
      }
    }
  }

  private func group(
    containing address: LogicalAddress, _ length: UInt64
  ) throws(FilesystemError) -> BlockGroup {
    let group = try group(containing: address)
    guard length > 0, group.contains(address, length) else {
      throw .corrupt("extent \(address) of \(length) bytes leaves its block group")
    }
    return group
  }

  private func list(_ group: BlockGroup, _ news: BlockGroup.News, _ generation: Generation) {
    guard !news.isEmpty else { return }
    registry.withLock { registry in
      if news.contains(.dirty) { registry.dirty.append(group) }
      if news.contains(.pinned) { registry.pinned[generation, default: []].append(group) }
    }
  }
}

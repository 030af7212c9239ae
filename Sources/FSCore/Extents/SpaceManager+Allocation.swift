import Logging
import Synchronization

/// Handing out space. In memory only; see invariant 3 of `SpaceManager`.
extension SpaceManager: TreeBlockAllocator {
  /// A place for a tree block, in flight until `extentInserted` or `abandon`. Called with a
  /// tree's lock held. Fails only when more was taken than was promised.
  package func allocateTreeBlock(
    for tree: TreeID, level: UInt8, in h: borrowing TransactionHandle
  ) throws(FilesystemError) -> LogicalAddress {
    noteLevel(level)
    let members = tree == .chunk ? system : metadata
    let hint = tree == .chunk ? nil : nextPlace(in: h.generation)
    let size = geometry.nodeSize
    if let address = allocate(length: size, alignment: size, in: members, hint: hint) {
      if tree != .chunk { cluster.didPlace(address, size) }
      return address
    }

    // What was promised should have been there. A new chunk costs nothing but memory now, so a
    // misjudged promise need not abort the volume while the device has room.
    while makeChunk(in: members) != nil {
      if let address = allocate(length: size, alignment: size, in: members, hint: nil) {
        return address
      }
    }
    log.error("no space for a block of tree \(tree)")
    throw .noSpace
  }

  private func nextPlace(in generation: Generation) -> LogicalAddress {
    while true {
      if case .at(let address) = cluster.place(in: generation) { return address }
      let length = TreeBlockCluster.blockCount * geometry.nodeSize
      let run = metadata.firstResult(freeAtLeast: length) { $0.firstRun(atLeast: length) }
      cluster.begin(run, in: generation)
    }
  }

  /// Takes note of how high trees are: promises are made for paths of that height.
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
    precondition(length > 0 && length % sectorSize == 0 && minimum <= length)
    if let address = allocate(
      length: length, alignment: sectorSize, in: data, hint: hint, usingReserved: usingReserved)
    {
      return (address, length)
    }

    let shortest = max(minimum, sectorSize)
    var best: [BlockGroup] = data.groups.filter { $0.freeHint >= shortest }
    best.sort { $0.freeHint > $1.freeHint }
    for group in best {
      if let found = group.allocateUpTo(
        length: length, minimum: shortest, usingReserved: usingReserved)
      {
        return found
      }
    }
    throw .noSpace
  }

  private func allocate(
    length: UInt64, alignment: UInt64, in members: BlockGroupClass, hint: LogicalAddress?,
    usingReserved: Bool = false
  ) -> LogicalAddress? {
    if let hint, let group = try? group(containing: hint), group.counters === members.counters,
      let address = group.allocate(
        length: length, alignment: alignment, hint: hint, usingReserved: usingReserved)
    {
      return address
    }
    return members.firstResult(freeAtLeast: length) { group in
      group.allocate(
        length: length, alignment: alignment, hint: nil, usingReserved: usingReserved)
    }
  }

  /// Room for a file of the record of free space, in one piece and out of nobody's promise; nil
  /// when there is none. Legal inside a commit.
  package func allocateRecordFile(length: UInt64) -> LogicalAddress? {
    guard hasRoomForRecord(length) else { return nil }
    return allocate(length: length, alignment: geometry.sectorSize, in: data, hint: nil)
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

import Logging

/// Hands out space. In memory only: no IO, no tree, no waiting. Loading groups and making chunks
/// comes first, in `Reservations`, with no handle open.
///
/// 1. A byte is handed out at most once until its commit's space is given back: an allocation
///    takes from a loaded group's index, and only `abandon` and `unpin` put into it.
/// 2. What is freed in transaction T is not handed out before T is durable
///    (`BlockGroupRegistry.unpin`).
package final class ExtentAllocator: Sendable {
  let groups: BlockGroupRegistry
  let chunks: ChunkLifecycle
  let reservations: Reservations
  private let cluster = TreeBlockCluster()

  init(groups: BlockGroupRegistry, chunks: ChunkLifecycle, reservations: Reservations) {
    self.groups = groups
    self.chunks = chunks
    self.reservations = reservations
  }

  private var geometry: Geometry { groups.geometry }

  /// A place for data: `length` bytes in one piece if there is such a piece, else the longest
  /// there is, at least `minimum`. Both are whole sectors. It is in flight until its extent
  /// item is inserted or it is abandoned.
  ///
  /// - Parameter usingReserved: takes what was allocated off what `Reservations.reserveData` has
  ///   reserved. A caller that passes false calls `releaseData` itself.
  package func allocateData(
    length: UInt64, minimum: UInt64, hint: LogicalAddress?, usingReserved: Bool = false
  ) throws(FilesystemError) -> (LogicalAddress, UInt64) {
    let sectorSize = geometry.sectorSize
    let reserve = usingReserved ? SpaceReserve.data : .none
    precondition(length > 0 && length % sectorSize == 0 && minimum <= length)
    if let address = allocate(
      length: length, alignment: sectorSize, in: groups.data, hint: hint, from: reserve)
    {
      return (address, length)
    }

    // Another thread may take the run that was found. What the group says is changed by then.
    let shortest = max(minimum, sectorSize)
    while let group = groups.data.groupWithLongestRun(atLeast: shortest) {
      if let found = group.allocateUpTo(length: length, minimum: shortest, from: reserve) {
        return found
      }
    }
    throw .noSpace
  }

  private func allocate(
    length: UInt64, alignment: UInt64, in members: BlockGroupClass, hint: LogicalAddress?,
    from reserve: SpaceReserve
  ) -> LogicalAddress? {
    if let hint, let group = try? groups.group(containing: hint),
      group.counters === members.counters,
      let address = group.allocate(
        length: length, alignment: alignment, hint: hint, from: reserve)
    {
      return address
    }
    return members.firstResult(withRun: length) { group in
      group.allocate(length: length, alignment: alignment, hint: nil, from: reserve)
    }
  }

  /// Room for a file of the record of free space, in one piece of what nobody has reserved; nil
  /// when there is none. Legal inside a commit.
  package func allocateRecordFile(length: UInt64) -> LogicalAddress? {
    guard reservations.hasRoomForRecord(length) else { return nil }
    return allocate(
      length: length, alignment: geometry.sectorSize, in: groups.data, hint: nil, from: .none)
  }
}

extension ExtentAllocator: TreeBlockAllocator {
  /// A place for a tree block, in flight until `extentInserted` or `abandon`; debited to the
  /// handle. Called with a tree's lock held. Fails only when more is taken than was reserved.
  package func allocateTreeBlock(
    for tree: TreeID, level: UInt8, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> LogicalAddress {
    reservations.noteLevel(level)
    let members = tree == .chunk ? groups.system : groups.metadata
    let hint = tree == .chunk ? nil : nextPlace(in: handle.generation)
    let size = geometry.nodeSize
    let reserve = tree == .chunk ? .none : reservations.debit(size, for: tree, to: handle)
    if let address = allocate(
      length: size, alignment: size, in: members, hint: hint, from: reserve)
    {
      if tree != .chunk { cluster.didPlace(address, size) }
      return address
    }

    // What was reserved should have been there. A new chunk costs nothing but memory now, so a
    // misjudged reservation need not abort the volume while the device has room.
    while chunks.make(in: members) != nil {
      if let address = allocate(
        length: size, alignment: size, in: members, hint: nil, from: reserve)
      {
        return address
      }
    }
    groups.log.error("no space for a block of tree \(tree)")
    throw .noSpace
  }

  private func nextPlace(in generation: Generation) -> LogicalAddress {
    while true {
      if case .at(let address) = cluster.place(in: generation) { return address }
      let length = TreeBlockCluster.blockCount * geometry.nodeSize
      let run = groups.metadata.firstResult(withRun: length) { $0.firstRun(atLeast: length) }
      cluster.begin(run, in: generation)
    }
  }
}

/// What delayed references tell.
extension ExtentAllocator: ExtentSpaceAccounting {
  package func extentInserted(
    _ address: LogicalAddress, length: UInt64, isMetadata: Bool,
    in handle: borrowing TransactionHandle
  ) {
    do throws(FilesystemError) {
      let group = try groups.group(containing: address, length)
      groups.list(group, try group.didInsert(address, length), handle.generation)
    } catch {
      groups.fail(error)
    }
  }

  package func extentFreed(
    _ address: LogicalAddress, length: UInt64, isMetadata: Bool,
    in handle: borrowing TransactionHandle
  ) {
    let generation = handle.generation
    do throws(FilesystemError) {
      let group = try groups.group(containing: address, length)
      groups.list(group, try group.didFree(address, length, generation), generation)
    } catch {
      groups.fail(error)
    }
  }

  package func abandon(_ address: LogicalAddress, length: UInt64) {
    do throws(FilesystemError) {
      try groups.group(containing: address, length).abandon(address, length)
    } catch {
      groups.fail(error)
    }
  }

  package func discard(
    _ address: LogicalAddress, length: UInt64, in handle: borrowing TransactionHandle
  ) {
    let generation = handle.generation
    do throws(FilesystemError) {
      let group = try groups.group(containing: address, length)
      groups.list(group, try group.didDiscard(address, length, generation), generation)
    } catch {
      groups.fail(error)
    }
  }

  /// Gives a handle of the commit what was kept back for the reference that it applies.
  package func creditReference(to handle: borrowing TransactionHandle) {
    reservations.creditReference(to: handle)
  }
}

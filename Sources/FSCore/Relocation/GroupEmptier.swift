import Glibc
import Logging

/// Empties one block group, and gives it back.
///
/// 1. The group is read-only from before the first look at what is in it until it is gone, so all
///    that is there was there then: nothing is allocated in it, and its cache is not written.
/// 2. What was in flight in it when it became read-only has come to an end, and is durable, before
///    anything is moved.
/// 3. Each extent moves by itself, in transactions of its own (`DataMover`, `BlockMover`). Between
///    two extents commits may come, and the power may go.
/// 4. What the record of free space has there moves with its commits, or goes, where it is about this
///    group. Files of a record that the image had before are deleted.
/// 5. The chunk goes when the group is empty and a commit has made that durable, by the same code
///    as any other (`ChunkRemover`). In every other case the group becomes writable again.
struct GroupEmptier: Sendable {
  let space: Space
  let record: any FreeSpaceRecord
  let remover: ChunkRemover
  let committer: Committer
  let transactions: TransactionManager
  let references: DelayedReferences
  let files: FileStore
  let leftovers: LeftoverCaches
  let data: DataMover
  let blocks: BlockMover
  let cleaner: SubvolumeCleaner
  let log: Logger

  /// Extents that are looked up at a time.
  private static let batch = 256
  /// How often the group is gone through before it is given up.
  private static let mostPasses = 8

  /// Throws for a plan that cannot be carried out, with the reason.
  func check(_ plan: BalancePlan) throws(FilesystemError) {
    // They may always go with metadata: that is one and the same request.
    if let system = plan.system, system != plan.metadata, !plan.isForced {
      throw .invalidArgument(
        "system block groups go otherwise than metadata only where that is forced (--force)"
      )
    }
    for (filter, members) in types(plan) where filter.target == .single && !plan.isForced {
      guard members !== space.groups.data || space.groups.geometry.isMixed,
        members.groups.contains(where: { $0.flags.contains(.dup) })
      else { continue }
      throw .invalidArgument(
        "one copy of metadata in place of two: that is done only where it is forced (--force)")
    }
    if space.groups.geometry.isMixed, let data = plan.data, let metadata = plan.metadata,
      data != metadata
    {
      throw .invalidArgument(
        "block groups of this file system are for data and metadata: the filters have to agree")
    }
  }

  private func types(_ plan: BalancePlan) -> [(filter: BalanceFilter, members: BlockGroupClass)] {
    let groups = space.groups
    let all = [
      (plan.data, groups.data), (plan.metadata, groups.metadata), (plan.system, groups.system),
    ]
    return all.compactMap { filter, members in filter.map { ($0, members) } }
  }

  /// New chunks get what the plan converts to, from now on.
  func beginConversion(_ plan: BalancePlan) {
    for (filter, members) in types(plan) {
      if let target = filter.target { members.wantedProfile = target.flags }
    }
  }

  /// New chunks are like the newest ones again.
  func endConversion() {
    for members in space.groups.classes { members.wantedProfile = nil }
  }

  /// Moves all that is in the group. False when it was told to stop, or the group is needed.
  ///
  /// - Parameter goesOn: told how many bytes were moved since it was asked last; says whether to go
  ///   on.
  func empty(
    _ group: BlockGroup, goesOn: (_ bytesMoved: UInt64) -> Bool
  ) throws(FilesystemError) -> Bool {
    if space.chunks.isNew(group) { return false }
    if group.loading == .unloaded { space.loader.load(group) }
    guard try makeReadOnly(group) else { return false }
    var isRemoved = false
    defer { if !isRemoved { remover.reopen(group) } }
    try settle(group)
    for _ in 0..<Self.mostPasses {
      let kept = try moveRecord(of: group)
      guard try pass(over: group, keeping: kept, goesOn) else { return false }
      try committer.commit()
      if group.isEmpty {
        isRemoved = try remover.removeEmptied(group)
        // Its place can be used anew only when that is durable.
        if isRemoved { try committer.commit() }
        return isRemoved
      }
    }
    throw .busy("block group \(group.start) does not become empty: \(group.used) bytes stay")
  }

  /// Sees to it that there is room elsewhere for what is in the group, then takes it out of
  /// allocation. False when another thread has done that: the group is empty, and about to go.
  private func makeReadOnly(_ group: BlockGroup) throws(FilesystemError) -> Bool {
    let reservations = space.reservations
    let canSpare =
      group.flags.contains(.system)
      ? reservations.canSpareSystem() : reservations.canSpare(group)
    var looks = 0
    var refusals = 0
    while true {
      if group.isReadOnly { return false }
      if reservations.hasRoomElsewhere(for: group) {
        if remover.isSpare(group), group.makeReadOnly(if: canSpare) { return true }
        // The reserve of a class grows with the class, but not as fast.
        refusals += 1
        guard refusals <= Self.mostRefusals else { throw .noSpace }
      }
      if reservations.growForBalance(of: group) { continue }
      // Other classes may have chunks that they can do without.
      guard looks < Self.mostLooks, try remover.removeEmpty() else { throw .noSpace }
      looks += 1
      try committer.commit()
    }
  }

  private static let mostRefusals = 6
  private static let mostLooks = 4

  /// Waits until nothing is on its way to the group, and commits.
  private func settle(_ group: BlockGroup) throws(FilesystemError) {
    for attempt in 0..<200 {
      files.flushAll()
      try committer.commit()
      if !group.hasDataInFlight { break }
      // A writer has allocated and is about to complete: that takes no longer than its IO.
      usleep(UInt32(min(1000 << min(attempt, 6), 50_000)))
    }
    if group.hasDataInFlight {
      throw .busy("writes to block group \(group.start) do not come to an end")
    }
  }

  /// Lets what the record of free space has in the group move with the next commit, or go. Returns
  /// which files that are.
  private func moveRecord(of group: BlockGroup) throws(FilesystemError) -> Set<ObjectID> {
    guard let holding = try record.holdings()[group.start] else { return [] }
    for owner in holding.owners { record.distrust(owner) }
    // There has to be a commit, though nothing else may have changed.
    try transactions.perform(reserving: 4 * holding.owners.count, for: .freeing) {
      (handle) throws(FilesystemError) in handle.noteChange()
    }
    return holding.files
  }

  /// Goes through the group once. False when it was told to stop.
  private func pass(
    over group: BlockGroup, keeping kept: Set<ObjectID>, _ goesOn: (UInt64) -> Bool
  ) throws(FilesystemError) -> Bool {
    var position = group.start
    while true {
      let found = try references.extents(from: position, to: group.end, atMost: Self.batch)
      guard let last = found.last else { return true }
      for extent in found {
        let bytes = try moveBesideDeletions(extent.address, extent.kind, keeping: kept, goesOn)
        guard goesOn(bytes) else { return false }
      }
      position = last.address + 1
    }
  }

  /// Moves an extent, or waits until it goes with a subvolume that is being deleted: of that not all
  /// that refers to an extent can be found.
  private func moveBesideDeletions(
    _ address: LogicalAddress, _ kind: ExtentKind, keeping kept: Set<ObjectID>,
    _ goesOn: (UInt64) -> Bool
  ) throws(FilesystemError) -> UInt64 {
    while true {
      let before = cleaner.quietCount
      do throws(FilesystemError) {
        return try move(address, kind, keeping: kept)
      } catch {
        // None was deleted meanwhile, or in the midst of it.
        let isQuiet = before != nil && cleaner.quietCount == before
        if isQuiet || transactions.refusal != nil { throw error }
        switch error {
        case .corrupt, .unsupported, .busy, .notFound, .stale: break
        default: throw error
        }
      }
      while !cleaner.wait(seconds: 0.2) {
        guard goesOn(0) else { return 0 }
        if cleaner.isHeldUp {
          throw .busy(
            "it has a part of a deleted subvolume that keeps its space: files of it are open, or "
              + "there was no room to take it apart, or that has failed")
        }
      }
    }
  }

  /// Returns how many bytes were moved.
  private func move(
    _ address: LogicalAddress, _ kind: ExtentKind, keeping kept: Set<ObjectID>
  ) throws(FilesystemError) -> UInt64 {
    switch kind {
    case .treeBlock(let level):
      return try blocks.move(address, level: level) ? space.groups.geometry.nodeSize : 0
    case .data(let length):
      switch try data.move(address, length: length) {
      case .gone: return 0
      case .moved: return length
      case .record(let files):
        for file in files.subtracting(kept) {
          try leftovers.release(address, length: length, of: file)
        }
        return 0
      }
    }
  }
}

extension BlockGroup {
  /// Whether space is allocated that no extent item covers yet.
  fileprivate var hasDataInFlight: Bool { moment.hasDataInFlight }
}

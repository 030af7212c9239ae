/// Letting go of free space in memory that its record has, too.
extension Reservations {
  /// Brings what is known of free space back to its share of memory, if that can be done: groups that
  /// were used longest ago go first, and none that was used since the last commit. Called with no lock
  /// held but `reservation`.
  package func letGoOfFreeSpace() {
    let memory = groups.memory
    guard let source = loader.source, let target = memory.begin() else { return }
    var letGo = 0
    defer { memory.end(lettingGo: letGo) }
    let now = memory.now
    // What changes a system group must not have to load it.
    let held = [data, metadata][..<(isMixed ? 1 : 2)].flatMap(\.groups)
      .compactMap { group in group.lastUseOfMemory.map { (group: group, lastUse: $0) } }
      .filter { $0.lastUse < now }
    for (group, _) in held.sorted(by: { $0.lastUse < $1.lastUse }) {
      if memory.share.used <= target { return }
      if let change = source.changeInRecord(of: group),
        group.letGo(at: change, if: canUnload(group))
      {
        letGo += 1
      }
    }
  }

  /// Lets go of one group that was loaded just to be looked at, if its record has it.
  package func letGo(of group: BlockGroup) {
    guard let change = loader.source?.changeInRecord(of: group) else { return }
    _ = group.letGo(at: change, if: canUnload(group))
  }

  /// Whether the class can do without loaded free space: asked as `canSpare` is. Much of it stays, so
  /// that the group need not be loaded again at once.
  private func canUnload(
    _ group: BlockGroup
  ) -> (_ now: SpaceCounters, _ then: SpaceCounters) -> Bool {
    let policy = self.policy
    let pending = UInt64(pendingCount)
    let isMetadata = group.counters === metadata.counters
    return { [self] _, then in
      let kept = isMetadata ? 2 * keptForMetadata(policy, then, pending, 0) : 0
      return then.free >= then.reserved + kept + Self.loadedFreeSpace
    }
  }

  /// What stays allocatable at least, in bytes.
  private static var loadedFreeSpace: UInt64 { 64 << 20 }
}

/// The commit's part that lets go of free space in memory when the record of it is durable. It stands
/// behind the record and `BlockGroupItems`.
package struct FreeSpaceRelief: CommitParticipant {
  let reservations: Reservations

  package func settle(
    in handle: borrowing TransactionHandle, _ context: borrowing CommitContext, round: Int
  ) throws(FilesystemError) -> Bool { false }

  package func didCommit(_ generation: Generation) {
    reservations.groups.memory.noteCommit()
    reservations.letGoOfFreeSpace()
  }
}

/// Room for what a block group has, in the others of its class.
extension Reservations {
  /// Whether what is in the group would fit elsewhere, as far as the sums tell.
  package func hasRoomElsewhere(for group: BlockGroup) -> Bool {
    guard let members = try? groups.groupClass(of: group.flags) else { return false }
    let here = group.isReadOnly ? 0 : group.share.free
    let used = group.used
    let policy = self.policy
    let pending = UInt64(pendingCount)
    let isMetadata = members === metadata
    return members.counters.withLock { counters in
      let kept =
        isMetadata ? keptForMetadata(policy, counters, pending, 0) + counters.reservedItems : 0
      return counters.free >= here + counters.reservedData + counters.reservedMetadata + used + kept
    }
  }

  /// What has to stay free of a class, as things are: in logical bytes.
  func keptFree(of members: BlockGroupClass) -> UInt64 {
    let policy = self.policy
    let pending = UInt64(pendingCount)
    let isMetadata = members === metadata
    return members.counters.withLock { counters in
      let kept =
        isMetadata ? keptForMetadata(policy, counters, pending, 0) + counters.reservedItems : 0
      return kept + counters.reservedData + counters.reservedMetadata
    }
  }

  /// Whether the chunk tree can be changed a few times over without a part of a system group.
  func canSpareSystem() -> (_ now: SpaceCounters, _ then: SpaceCounters) -> Bool {
    let least = 32 * groups.geometry.nodeSize
    return { _, then in then.free >= least }
  }

  /// Makes more space of a class allocatable, so that the group can be emptied: loads another one or
  /// makes a chunk. False when neither is possible. Called with no handle open.
  package func growForBalance(of group: BlockGroup) -> Bool {
    guard let members = try? groups.groupClass(of: group.flags) else { return false }
    return growth.withLock { _ in grow(members) }
  }

  /// The same for data.
  package func growData() -> Bool { growth.withLock { _ in grow(data) } }
}

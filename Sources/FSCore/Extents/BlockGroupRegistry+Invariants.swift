/// Invariants that run: at every commit of a debug build, and where tests ask for them.
extension BlockGroupRegistry {
  /// What does not hold of the groups, each by itself.
  func brokenInvariants() -> [String] {
    var broken = all.compactMap(\.brokenInvariant)
    for group in dirty where !group.state.withLock({ $0.lists.contains(.dirty) }) {
      broken.append("block group \(group.start) is listed and does not know")
    }
    for members in classes { broken += members.brokenInvariants() }
    return broken
  }

  /// What does not hold of the sums either, while no other thread changes anything (invariant 5 of
  /// `BlockGroup`).
  package func brokenInvariantsWhenQuiet() -> [String] {
    var broken = brokenInvariants()
    let charged = all.reduce(0) { sum, group in sum + group.state.withLock { $0.charged } }
    if charged != memory.share.used {
      broken.append("free space takes \(charged) bytes in memory, \(memory.share.used) are charged")
    }
    for members in classes {
      var sum = SpaceCounters()
      for share in members.groups.map(\.share) {
        sum.length += share.length
        sum.used += share.used
        sum.free += share.free
        sum.unloaded += share.unloaded
        sum.pinned += share.pinned
        sum.inFlight += share.inFlight
        sum.unusable += share.unusable
      }
      var counters = members.counters.withLock { $0 }
      counters.reservedData = 0
      counters.reservedItems = 0
      counters.reservedMetadata = 0
      counters.returns = 0
      counters.waiters = 0
      if counters != sum {
        broken.append("the groups of \(members.types.typeName) are \(sum), counted \(counters)")
      }
    }
    return broken
  }
}

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
  /// `BlockGroup`), and of what is reserved: nothing for tree blocks, and no thread waits for that.
  ///
  /// - Parameter buffered: what is reserved for all that is buffered.
  package func brokenInvariantsWhenQuiet(
    buffered: (data: UInt64, items: UInt64) = (0, 0)
  ) -> [String] {
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
      sum.reservedData = members === data ? buffered.data : 0
      sum.reservedItems = members === metadata ? buffered.items : 0
      let counters = members.counters.withLock { $0 }
      sum.returns = counters.returns
      if counters != sum {
        broken.append("the groups of \(members.types.typeName) are \(sum), counted \(counters)")
      }
    }
    return broken
  }
}

import Synchronization

/// The block groups of one class: data, metadata, system; or the mixed ones, which are one class
/// for data and metadata.
///
/// `counters` has rank `leaf`: it is changed with a block group's lock held. `members` has rank
/// `leaf` too; the two are never held together.
final class BlockGroupClass: Sendable {
  let types: BlockGroupFlags
  let counters: Guarded<SpaceCounters>
  private let members: Guarded<[BlockGroup]>

  /// Where the last allocation without a usable hint succeeded: an index of `groups`.
  private let cursor = Atomic<Int>(0)

  init(types: BlockGroupFlags) {
    self.types = types
    counters = Guarded(SpaceCounters(), rank: .leaf)
    members = Guarded([], rank: .leaf)
  }

  var groups: [BlockGroup] { members.withLock { $0 } }

  func append(_ group: BlockGroup) { members.withLock { $0.append(group) } }

  func remove(_ group: BlockGroup) { members.withLock { $0.removeAll { $0 === group } } }

  /// The profile that new chunks of the class get: that of the newest one.
  var profile: BlockGroupFlags {
    members.withLock { $0.last?.flags.intersection(.profiles) ?? [] }
  }

  /// The first result that `body` has for a group with at least `bytes` free, looking first at
  /// the group that gave the last one.
  func firstResult<R>(freeAtLeast bytes: UInt64, _ body: (BlockGroup) -> R?) -> R? {
    let groups = self.groups
    let first = cursor.load(ordering: .relaxed)
    for step in 0..<groups.count {
      let index = (first + step) % groups.count
      guard groups[index].freeHint >= bytes, let result = body(groups[index]) else { continue }
      if step > 0 { cursor.store(index, ordering: .relaxed) }
      return result
    }
    return nil
  }
}

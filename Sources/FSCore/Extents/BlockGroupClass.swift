import Synchronization

/// The block groups of one class: data, metadata, system; or the mixed ones, which are one class
/// for data and metadata.
///
/// `counters` has rank `leaf`: it is changed with a block group's lock held. `members` and `hints`
/// have rank `leaf` too; no two are ever held together.
///
/// 1. Each group has a slot of its own for as long as it is a member, under which `hints` knows it.
/// 2. Finding a group with room takes logarithmic time, however many there are.
final class BlockGroupClass: Sendable {
  private struct Members {
    /// The newest is the last.
    var groups: [BlockGroup] = []
    var slots: [BlockGroup?] = []
    var vacant: [Int] = []
  }

  let types: BlockGroupFlags
  let counters: Guarded<SpaceCounters>
  private let members: Guarded<Members>
  private let hints = GroupHints()
  /// What a balance wants new chunks to be; nil when none converts. Rank `leaf`, held with none of
  /// the others.
  private let wanted = Guarded<BlockGroupFlags?>(nil, rank: .leaf)

  /// Where the last allocation without a usable hint succeeded: a slot.
  private let cursor = Atomic<Int>(0)

  init(types: BlockGroupFlags) {
    self.types = types
    counters = Guarded(SpaceCounters(), rank: .leaf)
    members = Guarded(Members(), rank: .leaf)
  }

  var groups: [BlockGroup] { members.withLock { $0.groups } }

  /// So many bytes beyond what is asked for that space is not short any more.
  var plenty: UInt64 { counters.withLock { $0.length / 16 } }

  func append(_ group: BlockGroup) {
    let slot = members.withLock { members in
      members.groups.append(group)
      if let slot = members.vacant.popLast() {
        members.slots[slot] = group
        return slot
      }
      members.slots.append(group)
      return members.slots.count - 1
    }
    group.publishHints(to: hints, slot: slot)
  }

  func remove(_ group: BlockGroup) {
    guard let slot = group.stopPublishing() else { return }
    members.withLock { members in
      members.groups.removeAll { $0 === group }
      members.slots[slot] = nil
      members.vacant.append(slot)
    }
  }

  /// The profile that a balance converts to.
  var wantedProfile: BlockGroupFlags? {
    get { wanted.withLock { $0 } }
    set { wanted.withLock { $0 = newValue } }
  }

  /// The profile that new chunks of the class get: that of the newest one, unless a balance converts.
  var profile: BlockGroupFlags {
    if let wantedProfile { return wantedProfile }
    return members.withLock { $0.groups.last?.flags.intersection(.profiles) ?? [] }
  }

  private func group(in slot: Int) -> BlockGroup? {
    members.withLock { slot < $0.slots.count ? $0.slots[slot] : nil }
  }

  /// The first result that `body` has for a group with a free run of at least `bytes`, looking first
  /// at the group that gave the last one.
  func firstResult<R>(withRun bytes: UInt64, _ body: (BlockGroup) -> R?) -> R? {
    let start = cursor.load(ordering: .relaxed)
    func look(in slots: Range<Int>, ofProfile profile: BlockGroupFlags? = nil) -> R? {
      var next = slots.lowerBound
      while let slot = hints.firstSlot(from: next, withRun: bytes), slot < slots.upperBound {
        if let group = group(in: slot),
          profile == nil || group.flags.intersection(.profiles) == profile,
          let result = body(group)
        {
          cursor.store(slot, ordering: .relaxed)
          return result
        }
        next = slot + 1
      }
      return nil
    }
    // What would only have to move again goes elsewhere if it can.
    if let wantedProfile, let result = look(in: 0..<Int.max, ofProfile: wantedProfile) {
      return result
    }
    return look(in: start..<Int.max) ?? look(in: 0..<start)
  }

  /// The group that has the longest free run, if that has at least `bytes`.
  func groupWithLongestRun(atLeast bytes: UInt64) -> BlockGroup? {
    hints.slot(withLongestRunOfAtLeast: bytes).flatMap { group(in: $0) }
  }

  /// The group of which loading makes most allocatable; nil when no group can be loaded now.
  var fullestUnloaded: BlockGroup? {
    guard let slot = hints.fullestUnloadedSlot else { return nil }
    if let group = group(in: slot), group.unloadedFree > 0 { return group }
    // The device failed when that one was loaded, so that others have their turn.
    return groups.map { (group: $0, free: $0.unloadedFree) }
      .filter { $0.free > 0 }.max { $0.free < $1.free }?.group
  }

  /// Groups of which something else is known than they say now.
  func brokenInvariants() -> [String] {
    groups.filter { !$0.agrees(with: hints) }.map {
      "what is known of the free space of block group \($0.start) is not true"
    }
  }
}

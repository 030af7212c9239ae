import Glibc
import Logging

/// Gives empty chunks back to the device: takes them out of the record of free space and the trees.
/// Lock rank: `leaf`, for `state` alone.
///
/// 1. Only a group that is read-only and empty is removed, and one of each class stays writable.
/// 2. A group that holds nothing but files of the record of free space is made read-only, and the
///    files move; when the commits have done that it is removed. One that does not become empty
///    within a few looks becomes writable again.
/// 3. One thread removes at a time. When it is short of space itself it commits, and does not begin to
///    remove once more.
package final class ChunkRemover: Sendable {
  private struct State {
    /// The thread that removes.
    var owner: pthread_t?
    var isBusy: Bool { owner != nil }
    /// What the last look has found: see `removeEmpty`.
    var hasGained = false
    /// Groups that were empty when `removeIdle` looked last.
    var idle: Set<LogicalAddress> = []
    /// Groups that hold more than files of the record, by how often they had changed when that was
    /// found.
    var examined: [LogicalAddress: UInt64] = [:]
    /// Read-only groups that are being emptied, and how often they were looked at.
    var draining: [(group: BlockGroup, looks: Int)] = []
  }

  private static let mostLooks = 4

  private let space: Space
  private let record: any FreeSpaceRecord
  private let transactions: TransactionManager
  private let deviceKey: Key
  private let log: Logger
  private let state = Guarded(State(), rank: .leaf)

  package init(
    space: Space, record: any FreeSpaceRecord, transactions: TransactionManager,
    device: DeviceItem, log: Logger
  ) {
    self.space = space
    self.record = record
    self.transactions = transactions
    self.log = log
    deviceKey = Key(.devItems, .devItem, device.deviceID.rawValue)
  }

  /// Removes chunks that were empty at the last call, too. Called now and then, with no lock and no
  /// handle held. Throws only what has aborted the volume.
  package func removeIdle() throws(FilesystemError) {
    let isMine = state.withLock { state in
      guard !state.isBusy else { return false }
      state.owner = pthread_self()
      return true
    }
    guard isMine else { return }
    defer { state.update { $0.owner = nil } }
    _ = try look(isPressing: false)
  }

  /// Removes all empty chunks that can be spared, as space is short. True when a commit would
  /// bring more: it gives room back, or empties other groups. Called with no lock and no handle held.
  ///
  /// A look of another thread is waited for. What that one has found counts as well, for its commit
  /// may not have come yet. A removal that is short of space itself gets a commit and no more.
  package func removeEmpty() throws(FilesystemError) -> Bool {
    if state.withLock({ $0.owner == pthread_self() }) { return false }
    var hasWaited = false
    var others = false
    state.when({ state in
      if state.isBusy { hasWaited = true }
      return !state.isBusy
    }) { state in
      state.owner = pthread_self()
      others = hasWaited && state.hasGained
    }
    defer { state.update { $0.owner = nil } }
    return try look(isPressing: true) || others
  }

  /// `isBusy` is this thread's.
  private func look(isPressing: Bool) throws(FilesystemError) -> Bool {
    let hasGained = try lookForEmpty(isPressing: isPressing)
    state.withLock { $0.hasGained = hasGained }
    return hasGained
  }

  private func lookForEmpty(isPressing: Bool) throws(FilesystemError) -> Bool {
    var hasChanged = try finishDraining()
    let groups = candidates
    let idle = state.withLock { state in
      defer { state.idle = Set(groups.map(\.start)) }
      return state.idle
    }
    let due = isPressing ? groups : groups.filter { idle.contains($0.start) }
    guard !due.isEmpty else { return hasChanged }

    for group in due where group.isEmpty {
      if try remove(group) { hasChanged = true }
    }
    let rest = due.filter { !$0.isEmpty && !$0.isReadOnly }
    if !rest.isEmpty, drain(rest) { hasChanged = true }
    return hasChanged
  }

  /// Groups that are empty, or hold so little that it may be the record's.
  private var candidates: [BlockGroup] {
    let found = space.groups.all.filter { group in
      !group.flags.contains(.system) && !group.isReadOnly && group.used <= group.length / 16
        && !space.chunks.isNew(group)
    }
    // Of each class one stays: the smallest.
    return found.sorted { $0.length > $1.length }
  }

  /// Whether another group of the class stays writable, and new chunks get the profile that they
  /// have today: a small one that an old mkfs left behind must not be the last.
  package func isSpare(_ group: BlockGroup) -> Bool {
    guard let members = try? space.groups.groupClass(of: group.flags) else { return false }
    let profile = members.profile
    return members.groups.contains {
      $0 !== group && !$0.isReadOnly && $0.loading != .damaged
        && $0.flags.intersection(.profiles) == profile
    }
  }

  /// Removes a group that others have made read-only and emptied. False when it stays, writable
  /// again: why is in the log. Called with no lock and no handle held.
  package func removeEmptied(_ group: BlockGroup) throws(FilesystemError) -> Bool {
    precondition(group.isReadOnly)
    // A look of another thread takes a few transactions.
    state.when({ !$0.isBusy }) { $0.owner = pthread_self() }
    defer { state.update { $0.owner = nil } }
    guard group.isEmpty else {
      reopen(group)
      return false
    }
    return try removeReadOnly(group)
  }

  /// Lets space be allocated again in a group that was to go. Its record was not kept meanwhile: the
  /// next commit makes up for that, and there has to be one. Called with no lock and no handle held.
  package func reopen(_ group: BlockGroup) {
    group.makeWritable()
    // Without it the next mount looks into the extent tree instead.
    try? transactions.perform(reserving: 1, for: .freeing) { (handle) throws(FilesystemError) in
      handle.noteChange()
    }
  }

  /// Removes a group if it is still empty once nothing is allocated there any more.
  private func remove(_ group: BlockGroup) throws(FilesystemError) -> Bool {
    guard isSpare(group), group.makeReadOnly(if: space.reservations.canSpare(group)) else {
      return false
    }
    guard group.isEmpty else {
      reopen(group)
      return false
    }
    return try removeReadOnly(group)
  }

  private func removeReadOnly(_ group: BlockGroup) throws(FilesystemError) -> Bool {
    let items = ChunkLifecycle.itemsOfRemoval + record.itemsToForget(group)
    do throws(FilesystemError) {
      let chunk = try space.chunks.map.chunk(containing: group.start)
      try transactions.perform(reserving: items, for: .freeing) {
        handle throws(FilesystemError) in
        try space.chunks.preparePaths(
          to: chunk, group, trees: space.trees, deviceKey: deviceKey, in: handle)
        try record.forget(group, in: handle)
        handle.noteChange()
        try space.chunks.deleteItems(
          of: chunk, group, trees: space.trees, deviceKey: deviceKey, in: handle)
      }
      return true
    } catch {
      // Had a change been half done the volume would be aborted.
      if let failure = transactions.failure { throw failure }
      reopen(group)
      log.warning("the empty chunk at \(group.start) stays: \(error)")
      return false
    }
  }

  /// Makes groups read-only that hold only files of the record, which then move.
  private func drain(_ groups: [BlockGroup]) -> Bool {
    let examined = state.withLock { $0.examined }
    var counts: [LogicalAddress: UInt64] = [:]
    let groups = groups.filter { group in
      guard group.flags.contains(.data), isSpare(group) else { return false }
      let count = group.moment.changeCount
      counts[group.start] = count
      return examined[group.start] != count
    }
    guard !groups.isEmpty else { return false }
    state.withLock { $0.examined.merge(counts) { _, new in new } }

    let holdings: [LogicalAddress: RecordHolding]
    do throws(FilesystemError) {
      holdings = try record.holdings()
    } catch {
      // The groups stay as they are: nothing else depends on it.
      log.warning("where the record of free space stands cannot be read: \(error)")
      return false
    }
    var hasBegun = false
    for group in groups {
      guard let holding = holdings[group.start], holding.bytes == group.used, isSpare(group),
        group.makeReadOnly(if: space.reservations.canSpare(group))
      else { continue }
      for owner in holding.owners { record.distrust(owner) }
      state.withLock { $0.draining.append((group, 0)) }
      hasBegun = true
    }
    return hasBegun
  }

  /// Removes groups that have become empty. True when others may still.
  private func finishDraining() throws(FilesystemError) -> Bool {
    var isUnderWay = false
    for (group, looks) in state.withLock({ $0.draining }) {
      let isEmpty = group.isEmpty
      if !isEmpty, looks < Self.mostLooks {
        state.withLock { state in
          let index = state.draining.firstIndex { $0.group === group }
          if let index { state.draining[index].looks += 1 }
        }
        isUnderWay = true
        continue
      }
      state.withLock { $0.draining.removeAll { $0.group === group } }
      if !isEmpty {
        reopen(group)
      } else if try removeReadOnly(group) {
        isUnderWay = true
      }
    }
    return isUnderWay
  }
}

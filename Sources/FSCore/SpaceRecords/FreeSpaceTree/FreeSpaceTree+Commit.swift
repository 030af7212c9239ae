import FreeSpace
import Logging

/// What a commit does with the free space tree.
extension FreeSpaceTree {
  package func prepare(in handle: borrowing TransactionHandle) throws(FilesystemError) {
    try oldCaches?.removeAll(references, log, in: handle)

    _ = try preparePaths(in: handle)
    try references.run(in: handle)
  }

  /// Carries changes into the tree that are known now.
  package func preparePaths(
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    try state.withLock { state throws(FilesystemError) in
      guard !state.isToBeRebuilt else { return false }
      var hasChanged = false
      for group in changedGroups where !mustRewrite(group, state) {
        if try update(group, &state, in: handle) { hasChanged = true }
      }
      return hasChanged
    }
  }

  package func settle(
    in handle: borrowing TransactionHandle, _ context: borrowing CommitContext, round: Int
  ) throws(FilesystemError) -> Bool {
    precondition(handle.isWithinCommit && handle.generation == context.generation)
    return try state.withLock { state throws(FilesystemError) in
      if state.isToBeRebuilt { return try rebuild(&state, in: handle) }
      var hasChanged = false
      for group in changedGroups where !mustRewrite(group, state) {
        if try update(group, &state, in: handle) { hasChanged = true }
      }
      for group in groupsToRewrite(state) {
        hasChanged = true
        do throws(FilesystemError) {
          try rewrite(group, &state, in: handle)
        } catch {
          guard error.isOfReading, !handle.isHalfDone else { throw error }
          disbelieve(&state, error)
          break
        }
      }
      return hasChanged
    }
  }

  package func seal(_ superblock: inout Superblock, _ context: borrowing CommitContext) {
    let (isPresent, isValid) = state.withLock { ($0.tree != nil, !$0.isToBeRebuilt) }
    superblock.readOnlyFeatures.subtract([.freeSpaceTree, .freeSpaceTreeValid])
    if isPresent { superblock.readOnlyFeatures.insert(.freeSpaceTree) }
    if isPresent, isValid { superblock.readOnlyFeatures.insert(.freeSpaceTreeValid) }
    superblock.cacheGeneration = 0
  }

  var changedGroups: [BlockGroup] { recorded(space.groups.dirty) }

  private func recorded(_ groups: [BlockGroup]) -> [BlockGroup] {
    let forgotten = doubts.withLock { $0.forgotten }
    return forgotten.isEmpty ? groups : groups.filter { !forgotten.contains($0.start) }
  }

  /// A new group has no items yet.
  private func mustRewrite(_ group: BlockGroup, _ state: State) -> Bool {
    (group.isNew && !state.verified.contains(group.start)) || isDistrusted(group)
  }

  private func groupsToRewrite(_ state: State) -> [BlockGroup] {
    let distrusted = doubts.withLock { Array($0.distrusted.values) }
    let new = changedGroups.filter { $0.isNew && !state.verified.contains($0.start) }
    return (distrusted + new).sorted { $0.start < $1.start }
  }

  /// Carries a group's changes into the tree; says whether there were any. A group whose items are
  /// found wrong, or cannot be changed, is distrusted from then on.
  private func update(
    _ group: BlockGroup, _ state: inout State, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    guard let tree = state.tree, group.hasSpaceChanges else { return false }
    let items = FreeSpaceTreeGroup(tree, group)
    handle.noteWhole()
    do throws(FilesystemError) {
      var recorded: UInt64?
      if !state.verified.contains(group.start) { recorded = try items.read().index.freeBytes }
      let taken = group.takeSpaceChanges(recordedFree: recorded)
      guard taken.isSumRight else {
        throw .corrupt("\(recorded ?? 0) bytes are free there, which is not the group's sum")
      }
      state.verified.insert(group.start)
      try items.apply(taken.changes, in: handle)
      counts.noteWritten()
      return true
    } catch {
      if handle.isHalfDone { throw error }
      // What was taken may be in no tree, or a part of it.
      state.verified.remove(group.start)
      distrust(group)
      guard error.isOfReading else { throw error }
      warn(group, error)
      return true
    }
  }

  /// Writes a group's items anew.
  private func rewrite(
    _ group: BlockGroup, _ state: inout State, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    guard let tree = state.tree else { return }
    handle.noteWhole()
    state.verified.remove(group.start)
    // Whatever came and went so far is in the extent tree, and what follows is noted again.
    _ = group.takeSpaceChanges(recordedFree: nil)
    try FreeSpaceTreeGroup(tree, group).write(gaps(of: group), in: handle)
    state.verified.insert(group.start)
    counts.noteWritten()
    _ = doubts.withLock { $0.distrusted.removeValue(forKey: group.start) }
  }

  /// All that no extent covers, from memory where it is known there: that cannot fail.
  private func gaps(of group: BlockGroup) throws(FilesystemError) -> FreeSpaceIndex {
    if let index = try group.picturedFree() { return index }
    return try ExtentTreeScan(extentTree: trees.extent, geometry: space.groups.geometry).gaps(
      of: group)
  }

  /// Makes the tree with the items of all groups, after all that is left of an old one has been
  /// removed. Says whether anything was changed (invariant 8).
  private func rebuild(
    _ state: inout State, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    guard state.refusedGeneration != handle.generation else { return false }
    handle.noteWhole()
    do throws(FilesystemError) {
      let blocks = try TreeBlockScan(space: space, trees: trees).blocks(of: .freeSpace)
      try trees.remove(.freeSpace, blocks: blocks, in: handle)
      state.tree = nil
      state.verified = []
      state.tree = try trees.create(.freeSpace, in: handle)
      for group in recorded(space.groups.all) { try rewrite(group, &state, in: handle) }
      state.isToBeRebuilt = false
    } catch {
      guard error.isOfReading, !handle.isHalfDone, !needsValidity else { throw error }
      let isNews = state.refusedGeneration == nil
      if isNews { log.error("the free space tree is not valid until it can be made: \(error)") }
      state.refusedGeneration = handle.generation
    }
    return true
  }
}

extension FilesystemError {
  /// Whether what stands on the device is at fault.
  var isOfReading: Bool {
    switch self {
    case .corrupt, .checksum, .onOtherDevice: true
    case .device(let operation, _, _): "\(operation)" == "read"
    default: false
    }
  }
}

extension BlockGroup {
  var hasSpaceChanges: Bool { state.withLock { $0.changes?.isEmpty == false } }

  /// Takes what extent items have come to cover, and do not cover any more, since the last time.
  ///
  /// - Parameter recordedFree: how much the record says is free, which is looked at in the same
  ///   moment; nil when it is known to be right.
  func takeSpaceChanges(recordedFree: UInt64?) -> (changes: SpaceChanges, isSumRight: Bool) {
    state.withLock { state in
      let changes = state.changes ?? emptyChanges()
      if state.changes != nil { state.changes = emptyChanges() }
      guard let recordedFree else { return (changes, true) }
      let free = recordedFree &+ changes.freedBytes &- changes.takenBytes
      return (changes, free == length - state.used)
    }
  }
}

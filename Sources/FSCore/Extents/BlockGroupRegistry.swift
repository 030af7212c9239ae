import Logging

/// All block groups of the volume, and what the commit must know of them. Lock rank:
/// `spaceManager`; no block group's lock is taken while it is held.
///
/// 1. Groups are sorted by address and do not overlap. A group comes with its chunk, and goes when
///    the commit that removed its chunk is durable.
/// 2. A group is in `dirty` exactly if its `lists` say so: extents entered or left it since the last
///    critical section, or the record of free space wants it to be looked at. The same goes for
///    `itemWork` and `recordWork`, since the reader of that list took it.
/// 3. `pinned` lists each group under each transaction that pinned something in it.
package final class BlockGroupRegistry: Sendable {
  private struct State {
    /// By ascending address.
    var groups: [BlockGroup] = []
    var dirty: [BlockGroup] = []
    var itemWork: [BlockGroup] = []
    var recordWork: [BlockGroup] = []
    /// Groups in which something was pinned, by transaction.
    var pinned: [Generation: [BlockGroup]] = [:]
    /// Bytes that extent items cover, by the BLOCK_GROUP_ITEMs in the tree.
    var writtenUsed: UInt64 = 0
    /// A change that cannot be right was asked for; nothing is committed after that.
    var failure: FilesystemError?

    mutating func list(_ group: BlockGroup, _ news: BlockGroup.News) {
      if news.contains(.dirty) { dirty.append(group) }
      if news.contains(.item) { itemWork.append(group) }
      if news.contains(.record) { recordWork.append(group) }
    }
  }

  package let geometry: Geometry
  /// The tree that block group items stand in.
  let itemTree: Tree
  /// Whether groups note what changes in them for the record of free space.
  package let notesChanges: Bool
  let log: Logger
  /// What the groups' free space takes in memory.
  package let memory: FreeSpaceMemory
  /// What the groups take beside that.
  private let descriptors: MemoryShare

  /// What a group and its chunk take, and what the record of free space knows of it: measured, as the
  /// growth of a process by 15,000 groups.
  private static let descriptorBytes = 3500

  let data: BlockGroupClass
  /// The same object as `data` where block groups are mixed.
  let metadata: BlockGroupClass
  let system: BlockGroupClass

  private let state = Guarded(State(), rank: .spaceManager)

  /// - Parameter notesChanges: groups note what changes in them, and the record of free space takes
  ///   it at every commit.
  init(
    geometry: Geometry, itemTree: Tree, notesChanges: Bool, memory: MemoryBudget, log: Logger
  ) {
    self.memory = FreeSpaceMemory(share: memory.freeSpace)
    descriptors = memory.groups
    self.geometry = geometry
    self.itemTree = itemTree
    self.notesChanges = notesChanges
    self.log = log
    let mixed = BlockGroupClass(types: [.data, .metadata])
    data = geometry.isMixed ? mixed : BlockGroupClass(types: .data)
    metadata = geometry.isMixed ? mixed : BlockGroupClass(types: .metadata)
    system = BlockGroupClass(types: .system)
  }

  /// The classes, each once.
  var classes: [BlockGroupClass] {
    data === metadata ? [data, system] : [data, metadata, system]
  }

  func groupClass(of flags: BlockGroupFlags) throws(FilesystemError) -> BlockGroupClass {
    let types = flags.intersection(.types)
    if types == .system { return system }
    if geometry.isMixed, !types.isEmpty, !types.contains(.system) { return data }
    if types == .data { return data }
    if types == .metadata { return metadata }
    throw .corrupt("a block group of type \(types.rawValue)")
  }

  // Coming and going.

  /// Makes the block group of a chunk known: one with `used` bytes in the tree's item, or a new
  /// one, which the caller publishes.
  func add(_ chunk: Chunk, used: UInt64, isNew: Bool) throws(FilesystemError) -> BlockGroup {
    let members = try groupClass(of: chunk.item.flags)
    let group = try BlockGroup(
      chunk: chunk, used: used, isNew: isNew, notesChanges: notesChanges,
      sectorSize: geometry.sectorSize, counters: members.counters,
      memory: memory)
    state.withLock { state in
      // Chunks come in ascending order, but two threads may arrive here in either.
      let index = state.groups.lastIndex { $0.start < group.start }.map { $0 + 1 } ?? 0
      state.groups.insert(group, at: index)
      state.writtenUsed += used
    }
    members.append(group)
    descriptors.charge(Self.descriptorBytes)
    return group
  }

  /// Forgets a group that was removed: the trees do not know it any more. It is empty and
  /// read-only.
  func remove(_ group: BlockGroup) {
    group.leaveCounters()
    descriptors.giveBack(Self.descriptorBytes)
    if let members = try? groupClass(of: group.flags) { members.remove(group) }
    state.withLock { state in
      state.groups.removeAll { $0 === group }
      state.dirty.removeAll { $0 === group }
      state.itemWork.removeAll { $0 === group }
      state.recordWork.removeAll { $0 === group }
      for generation in Array(state.pinned.keys) {
        state.pinned[generation]?.removeAll { $0 === group }
      }
    }
  }

  /// All block groups by ascending address.
  package var all: [BlockGroup] { state.withLock { $0.groups } }

  package func group(containing address: LogicalAddress) throws(FilesystemError) -> BlockGroup {
    let found = state.withLock { state -> BlockGroup? in
      var low = 0
      var high = state.groups.count
      while low < high {
        let middle = (low + high) / 2
        if state.groups[middle].end > address { high = middle } else { low = middle + 1 }
      }
      guard low < state.groups.count, state.groups[low].start <= address else { return nil }
      return state.groups[low]
    }
    guard let found else { throw .corrupt("logical address \(address) is in no block group") }
    return found
  }

  /// The group that an extent lies in.
  func group(
    containing address: LogicalAddress, _ length: UInt64
  ) throws(FilesystemError) -> BlockGroup {
    let group = try group(containing: address)
    guard length > 0, group.contains(address, length) else {
      throw .corrupt("extent \(address) of \(length) bytes leaves its block group")
    }
    return group
  }

  // What the commit looks at.

  /// Groups that extents entered or left in the running transaction, and those that the record of
  /// free space wants to be looked at.
  package var dirty: [BlockGroup] { state.withLock { $0.dirty } }

  /// Puts a group among `dirty`, though it may not change.
  package func listAsDirty(_ group: BlockGroup) {
    let news = group.joinLists()
    if !news.isEmpty { state.withLock { $0.list(group, news) } }
  }

  func list(_ group: BlockGroup, _ news: BlockGroup.News, _ generation: Generation) {
    guard !news.isEmpty else { return }
    state.withLock { state in
      state.list(group, news)
      if news.contains(.pinned) { state.pinned[generation, default: []].append(group) }
    }
  }

  /// Takes the groups that changed since this was called last: in ascending order, each once.
  func takeItemWork() -> [BlockGroup] {
    let groups = state.withLock { state in
      defer { state.itemWork = [] }
      return state.itemWork
    }
    return cleared(groups, of: .item)
  }

  /// The same for the record of free space.
  package func takeRecordWork() -> [BlockGroup] {
    let groups = state.withLock { state in
      defer { state.recordWork = [] }
      return state.recordWork
    }
    return cleared(groups, of: .record)
  }

  /// Lists groups again that were taken and not seen to.
  func putBackItemWork(_ groups: [BlockGroup]) {
    for group in groups { listAsDirty(group) }
  }

  /// Takes a mark away from groups that were taken from its list, and sorts them.
  private func cleared(_ groups: [BlockGroup], of mark: BlockGroup.News) -> [BlockGroup] {
    // Others set a mark, then append: whatever changes from here on is listed again.
    for group in groups { group.state.withLock { _ = $0.lists.remove(mark) } }
    return groups.count < 2 ? groups : groups.sorted { $0.start < $1.start }
  }

  /// Empties the list of changed groups. Inside the critical section, after the last change.
  func forgetDirty() throws(FilesystemError) {
    try checkFailure()
    let groups = dirty
    // Others may list groups meanwhile: they set a flag, then append.
    for group in groups {
      group.state.withLock { state in
        state.lists.remove(.dirty)
        group.chargeMemory(&state)
      }
    }
    state.withLock { $0.dirty.removeFirst(groups.count) }
  }

  /// What transactions up to and including `generation` freed and `unpin` will make allocatable, in
  /// pieces of at least `shortest` bytes.
  func pinnedRanges(
    upTo generation: Generation, atLeast shortest: UInt64
  ) -> [(start: LogicalAddress, length: UInt64)] {
    let groups = state.withLock { state in
      state.pinned.filter { $0.key <= generation }.flatMap(\.value)
    }
    return groups.flatMap { $0.pinnedRanges(upTo: generation, atLeast: shortest) }
  }

  /// Makes what transactions up to and including `generation` freed allocatable: its commit is
  /// durable.
  func unpin(_ generation: Generation) {
    let groups = state.withLock { state -> [BlockGroup] in
      let due = state.pinned.keys.filter { $0 <= generation }
      return due.flatMap { state.pinned.removeValue(forKey: $0) ?? [] }
    }
    for group in groups {
      do throws(FilesystemError) {
        try group.unpin(upTo: generation)
      } catch {
        fail(error)
      }
    }
  }

  /// Bytes that extent items cover, as the BLOCK_GROUP_ITEMs in the tree say.
  package var totalUsed: UInt64 { state.withLock { $0.writtenUsed } }

  /// The item of a group in the tree says another number of bytes now.
  func didWriteItem(_ group: BlockGroup, used: UInt64) {
    let before = group.state.withLock { state in
      defer { state.writtenUsed = used }
      return state.writtenUsed
    }
    state.withLock { $0.writtenUsed = $0.writtenUsed - before + used }
  }

  // Errors.

  /// Remembers the first thing that went wrong where nothing could be thrown.
  func fail(_ error: FilesystemError) {
    let isFirst = state.withLock { state in
      let isFirst = state.failure == nil
      if isFirst { state.failure = error }
      return isFirst
    }
    if isFirst { log.error("space accounting: \(error)") }
  }

  /// Throws what went wrong where nothing could be thrown.
  func checkFailure() throws(FilesystemError) {
    if let failure = state.withLock({ $0.failure }) { throw failure }
  }
}

import Synchronization

/// The inodes in memory: loaded when asked for, and evicted, least recently used first, when
/// there are too many. Lock rank: `leaf`.
///
/// 1. At most one object exists for an id: while one is being loaded, others wait for it.
/// 2. The table holds one reference to each. It evicts only what nobody else refers to, so an
///    `Inode` that somebody has in hand is always the one in the table, or deleted.
/// 3. An open inode, an orphan and one with buffered data stay.
/// 4. A subvolume stays while an inode of it does. When there are many, those that nobody has
///    asked for lately go with their inodes, but for the highest number that each has given out.
package final class InodeTable: Sendable {
  struct Shard {
    var slots = NumberTable<InodeID, Int>()
    var inodes: ContiguousArray<Inode?> = []
    var freeSlots: [Int] = []
    /// Where the search for something to evict goes on.
    var hand = 0
    var loading: Set<InodeID> = []
  }

  private static let shardCount = 64

  let shards: [Guarded<Shard>]
  private let limitOfShard: Int
  let memory: MemoryShare
  private let trees: Trees
  private let geometry: Geometry
  private let fileState: any FileState.Type
  private let subvolumes: Guarded<Subvolumes>

  /// Exclusive while a directory moves into another: nobody else gives directories other ancestors.
  let renames = ReadWriteLock(rank: .rename)

  /// What the kernel refers to: an inode without a name is kept until it no longer does.
  let lookups = LookupCounts()

  let stubs: StubPlaces

  private let isShutDown = Atomic<Bool>(false)

  /// What an inode takes, with its locks, its buffers' object and its place here.
  static let inodeBytes = 1024

  /// - Parameter memory: what inodes may take; those in use may go beyond.
  init(
    trees: Trees, geometry: Geometry, memory: MemoryShare,
    fileState: any FileState.Type
  ) {
    stubs = StubPlaces(lookups: lookups)
    self.fileState = fileState
    self.trees = trees
    self.geometry = geometry
    self.memory = memory
    limitOfShard = max(memory.limit / Self.inodeBytes / Self.shardCount, 8)
    subvolumes = Guarded(Subvolumes(limit: trees.comfortableCount), rank: .leaf)
    shards = (0..<Self.shardCount).map { _ in Guarded(Shard(), rank: .leaf) }
  }

  private func shard(of id: InodeID) -> Guarded<Shard> {
    let mixed = (id.number.rawValue ^ (id.tree.rawValue &* 0x9e37)) &* 0x9e37_79b9_7f4a_7c15
    return shards[Int(mixed >> 58)]
  }

  /// The inode with this id, loaded when it is not here. Does IO; call it with no lock of rank
  /// `reservation` or above.
  ///
  /// Throws `.stale` when there is none, and `.shutDown` after `shutDown`.
  package func inode(_ id: InodeID) throws(FilesystemError) -> Inode {
    if isShutDown.load(ordering: .relaxed) { throw .shutDown }
    let shard = shard(of: id)
    if let inode = shard.withLock({ Self.use(id, in: &$0) }) { return inode }

    let found: Inode? = shard.when({ !$0.loading.contains(id) }) { state in
      if let inode = Self.use(id, in: &state) { return inode }
      state.loading.insert(id)
      return nil
    }
    if let found { return found }

    do throws(FilesystemError) {
      let inode = try load(id)
      return try shard.update { state throws(FilesystemError) in
        state.loading.remove(id)
        if inode.subvolume.isRetired { throw .stale }
        // Somebody may ask for a number before the inode that gets it is made.
        if let present = Self.use(id, in: &state) { return present }
        insert(inode, into: &state)
        return inode
      }
    } catch {
      shard.update { state in _ = state.loading.remove(id) }
      throw error
    }
  }

  /// From now on nobody gets an inode, and so nothing can be done with any.
  func shutDown() { isShutDown.store(true, ordering: .relaxed) }

  private func load(_ id: InodeID) throws(FilesystemError) -> Inode {
    if id.number.isStub { return try loadStub(id) }
    let subvolume = try subvolume(id.tree)
    guard id.number >= .firstFree, id.number <= .lastFree else { throw .stale }
    let item = try subvolume.tree.find(Key(id.number, .inodeItem, 0)) {
      (bytes) throws(FilesystemError) in try InodeItem(bytes)
    }
    guard let item else { throw .stale }
    return try make(id, in: subvolume, item)
  }

  /// An inode that is not in the table yet.
  func make(
    _ id: InodeID, in subvolume: Subvolume, _ item: InodeItem
  ) throws(FilesystemError) -> Inode {
    try Inode(id: id, subvolume: subvolume, item: item, fileState: fileState.init())
  }

  /// The inode with this id if it is in memory.
  func loaded(_ id: InodeID) -> Inode? {
    shard(of: id).withLock { Self.use(id, in: &$0) }
  }

  @inline(__always)
  private static func use(_ id: InodeID, in state: inout Shard) -> Inode? {
    guard let slot = state.slots[id], let inode = state.inodes[slot] else { return nil }
    if !inode.isRecent { inode.isRecent = true }
    return inode
  }

  /// Adds a new inode. Called before a name leads to it, or another would load it too.
  func insert(_ inode: Inode) {
    shard(of: inode.id).withLock { insert(inode, into: &$0) }
  }

  private func loadStub(_ id: InodeID) throws(FilesystemError) -> Inode {
    guard let place = stubs.directory(of: id) else { throw .stale }
    return try .stub(id: id, within: inode(place), fileState: fileState.init())
  }

  private func insert(_ inode: Inode, into state: inout Shard) {
    precondition(state.slots[inode.id] == nil, "two objects for one inode")
    if state.slots.count >= limitOfShard { evict(from: &state) }
    memory.charge(Self.inodeBytes)
    if let slot = state.freeSlots.popLast() {
      state.inodes[slot] = inode
      state.slots[inode.id] = slot
    } else {
      state.slots[inode.id] = state.inodes.count
      state.inodes.append(inode)
    }
  }

  /// Makes room for one, or more when more than the limit are here. A few steps at the most:
  /// where everything is in use the table grows instead.
  private func evict(from state: inout Shard) {
    var toEvict = min(state.slots.count - limitOfShard + 1, 4)
    for _ in 0..<min(64, state.inodes.count) {
      state.hand = state.hand + 1 < state.inodes.count ? state.hand + 1 : 0
      let slot = state.hand
      guard let id = Self.candidate(slot, in: &state), Self.isUnused(slot, in: &state) else {
        continue
      }
      state.inodes[slot] = nil
      state.slots[id] = nil
      state.freeSlots.append(slot)
      memory.giveBack(Self.inodeBytes)
      toEvict -= 1
      if toEvict == 0 { return }
    }
  }

  /// The id of the inode in `slot` when it may go. A function of its own, so that its reference
  /// to the inode has ended when the table's is counted.
  @inline(never)
  private static func candidate(_ slot: Int, in state: inout Shard) -> InodeID? {
    guard let inode = state.inodes[slot] else { return nil }
    if inode.isRecent {
      inode.isRecent = false
      return nil
    }
    return inode.isEvictable ? inode.id : nil
  }

  /// Whether nobody but the table refers to what is in `slot`.
  private static func isUnused(_ slot: Int, in state: inout Shard) -> Bool {
    isKnownUniquelyReferenced(&state.inodes[slot])
  }

  /// Takes out an inode that was deleted, or that was never finished.
  func remove(_ inode: Inode) {
    shard(of: inode.id).withLock { take(inode, from: &$0) }
  }

  private func take(_ inode: Inode, from state: inout Shard) {
    inode.markDeleted()
    guard let slot = state.slots.removeValue(forKey: inode.id) else { return }
    state.inodes[slot] = nil
    state.freeSlots.append(slot)
    memory.giveBack(Self.inodeBytes)
  }

  /// How many are in memory.
  package var count: Int { shards.reduce(0) { $0 + $1.withLock { $0.slots.count } } }

  // What keeps an inode.

  /// Runs `body` with the fields that a shard guards.
  func withHolders<R>(of inode: Inode, _ body: () -> R) -> R {
    shard(of: inode.id).withLock { _ in body() }
  }

  /// All orphans in memory.
  func orphans() -> [Inode] {
    shards.flatMap { $0.withLock { $0.inodes.compactMap { $0?.isOrphan == true ? $0 : nil } } }
  }

  // Subvolumes.

  /// The subvolume with this id. Throws `.notFound` when there is none, or it is deleted.
  package func subvolume(_ id: TreeID) throws(FilesystemError) -> Subvolume {
    if let known = subvolumes.withLock({ $0.use(id) }) { return known }
    guard id.isSubvolume, let root = try Self.rootItem(of: id, in: trees), root.references > 0
    else { throw .notFound }
    if let idle = subvolumes.withLock({ $0.idleToClose() }) {
      for shard in shards { shard.withLock { evict(from: &$0, of: idle) } }
      subvolumes.withLock { $0.closeUnused(idle) }
    }
    let tree = try trees.subvolume(id)
    return subvolumes.withLock { subvolumes in
      if let known = subvolumes.use(id) { return known }
      let opened = Subvolume(
        tree: tree, geometry: geometry, isReadOnly: root.isReadOnly,
        lastNumber: subvolumes.lastNumbers[id] ?? 0)
      subvolumes.add(opened)
      return opened
    }
  }

  /// The subvolume with this id if it is in memory, deleted or not.
  func loadedSubvolume(_ id: TreeID) -> Subvolume? {
    subvolumes.withLock { $0.open[id]?.subvolume }
  }

  /// Lets go of all that is here of a deleted subvolume: nobody gets an inode of it any more, and
  /// whoever has one finds it deleted. False when a file of it is open, or cannot be written back; the
  /// subvolume stays as it is then.
  ///
  /// Returns when no operation on any of the inodes is going on.
  ///
  /// - Parameter flush: writes back what is buffered of an inode.
  func retire(_ id: TreeID, flush: (Inode) -> Void) -> Bool {
    guard let subvolume = loadedSubvolume(id) else { return true }
    // Where a file is open nothing is refused, not even for a moment.
    guard !loaded(of: id).contains(where: { $0.openCount > 0 }) else { return false }
    subvolume.setRetired(true)
    // An operation that has a directory in hand may still make inodes, until it finds that deleted.
    while true {
      let found = loaded(of: id)
      if found.isEmpty { break }
      for inode in found where !retire(inode, flush) {
        subvolume.setRetired(false)
        return false
      }
    }
    subvolumes.withLock { $0.forget(id) }
    return true
  }

  /// Takes out an inode of a subvolume that is deleted, unless it is in use.
  private func retire(_ inode: Inode, _ flush: (Inode) -> Void) -> Bool {
    for _ in 0..<8 {
      flush(inode)
      let isGone = inode.lock.exclusive { () -> Bool? in
        guard inode.fileState.isClean else { return nil }
        // With the lock of the one who counts it as open: either that is seen here, or it finds the
        // inode deleted.
        return shard(of: inode.id).withLock { state in
          guard inode.openCount == 0 else { return false }
          take(inode, from: &state)
          return true
        }
      }
      if let isGone { return isGone }
    }
    return false
  }

  /// The inodes of a subvolume that are in memory.
  private func loaded(of id: TreeID) -> [Inode] {
    shards.flatMap { $0.withLock { $0.inodes.compactMap { $0?.id.tree == id ? $0 : nil } } }
  }

  /// How many subvolumes are in memory.
  package var subvolumeCount: Int { subvolumes.withLock { $0.open.count } }

  /// Lets go of every inode of these subvolumes that may go.
  private func evict(from state: inout Shard, of subvolumes: Set<TreeID>) {
    for slot in state.inodes.indices {
      guard let id = Self.evictable(slot, in: &state), subvolumes.contains(id.tree),
        Self.isUnused(slot, in: &state)
      else { continue }
      state.inodes[slot] = nil
      state.slots[id] = nil
      state.freeSlots.append(slot)
      memory.giveBack(Self.inodeBytes)
    }
  }

  @inline(never)
  private static func evictable(_ slot: Int, in state: inout Shard) -> InodeID? {
    guard let inode = state.inodes[slot], inode.isEvictable else { return nil }
    return inode.id
  }

  private static func rootItem(
    of id: TreeID, in trees: Trees
  ) throws(FilesystemError) -> RootItem? {
    // The offset is a snapshot's transaction: whatever it is, there is one item for the id.
    try trees.root.findLast(atMost: Key(id.objectID, .rootItem, UInt64.max)) {
      (key, bytes) throws(FilesystemError) in
      key.objectID == id.objectID && key.type == .rootItem ? try RootItem(bytes) : nil
    } ?? nil
  }
}

extension InodeTable {
  /// The subvolumes in memory.
  private struct Subvolumes {
    struct Entry {
      var subvolume: Subvolume
      var isRecent = true
    }

    private(set) var open: [TreeID: Entry] = [:]
    /// Of those that were closed: numbers up to these are never given out again.
    private(set) var lastNumbers: [TreeID: UInt64] = [:]
    private let limit: Int
    /// How many there may be before idle ones are looked for.
    private var bound: Int

    init(limit: Int) {
      self.limit = limit
      bound = limit
    }

    mutating func use(_ id: TreeID) -> Subvolume? {
      guard let index = open.index(forKey: id) else { return nil }
      open.values[index].isRecent = true
      return open.values[index].subvolume
    }

    /// One that is gone for good. Its numbers are never given out again.
    mutating func forget(_ id: TreeID) {
      open[id] = nil
      lastNumbers[id] = nil
    }

    mutating func add(_ subvolume: Subvolume) {
      open[subvolume.id] = Entry(subvolume: subvolume)
    }

    /// When there are too many: those that nobody has asked for since the last look, or all when
    /// that is too few. The next look comes after a good many more have been opened.
    mutating func idleToClose() -> Set<TreeID>? {
      guard open.count >= bound else { return nil }
      var idle = Set(open.keys.filter { $0 != .topLevel && open[$0]?.isRecent == false })
      if idle.count < limit / 4 { idle = Set(open.keys.filter { $0 != .topLevel }) }
      for id in Array(open.keys) { open[id]?.isRecent = false }
      bound = open.count + max(limit / 4, 1)
      return idle
    }

    /// Closes those of `idle` to which nobody refers.
    mutating func closeUnused(_ idle: Set<TreeID>) {
      for id in idle {
        guard let index = open.index(forKey: id),
          isKnownUniquelyReferenced(&open.values[index].subvolume)
        else { continue }
        let last = open.values[index].subvolume.lastGivenNumber
        if last > 0 { lastNumbers[id] = last }
        open[id] = nil
      }
      bound = max(limit, open.count + max(limit / 4, 1))
    }
  }
}

import Synchronization

/// The trees of a volume, and what their root items say. Lock rank: `leaf`.
///
/// 1. While anybody refers to a tree no other object stands for it: it is opened once, and
///    everybody shares it. A new tree is known here before its root item can be found. A subvolume's tree that nobody refers to, and whose root item is that
///    of its root block, may go, and is opened anew when it is wanted.
/// 2. After `updateRootItems` every open tree's root item is that of its root block. The root
///    tree and the chunk tree have none: the superblock leads to them.
package final class Trees: @unchecked Sendable {
  package let context: TreeContext
  package let root: Tree
  package let chunk: Tree
  package let extent: Tree
  package let device: Tree
  package let checksum: Tree
  package let uuid: Tree?

  struct Entry {
    var tree: Tree
    var rootItemKey: Key
    /// What the root item says.
    var savedAddress: LogicalAddress
    var savedBlockDelta = 0
    /// The last transaction in which the item said that the subvolume's content changed.
    var savedChange: Generation = 0
    /// The last snapshot of a subvolume that the item knows of.
    var savedSnapshot: Generation = 0

    /// The root item says what the tree is now.
    mutating func didSave(
      _ address: LogicalAddress, delta: Int, change: Generation, snapshot: Generation
    ) {
      savedAddress = address
      savedBlockDelta = delta
      savedChange = change
      savedSnapshot = snapshot
    }
  }

  struct State {
    var entries: [TreeID: Entry]
    /// How many trees of subvolumes there are.
    var subvolumes = 0
    /// How many there may be before unused ones are looked for.
    var bound: Int
    /// Subvolumes that were deleted in this mount: files that are open use their trees, and nobody
    /// else comes by them.
    var deleted: Set<TreeID> = []
    /// How many trees have gone from `entries` or from `deleted`: a root item that was read before
    /// may say what was.
    var departures = 0
    /// The highest number that a new subvolume was given.
    var lastNewSubvolume: UInt64 = 0
  }

  /// Another default subvolume was set: the superblock says that it may be another than the top level.
  package var hasNewDefault: Bool { newDefault.load(ordering: .relaxed) }
  private let newDefault = Atomic<Bool>(false)
  package func noteNewDefault() { newDefault.store(true, ordering: .relaxed) }

  let state: Guarded<State>
  let memory: MemoryShare
  let treeBytes: Int

  /// How many trees of subvolumes the budget has room for.
  let comfortableCount: Int

  /// Opens the trees that every file system has. The superblock has been validated, and the
  /// chunks are known.
  package init(
    superblock: Superblock, chunk: Tree, context: TreeContext, memory: MemoryShare
  ) throws(FilesystemError) {
    self.context = context
    self.memory = memory
    treeBytes = context.geometry.nodeBytes + Self.objectBytes
    self.chunk = chunk
    let root = try Tree(
      id: .root, address: superblock.root, level: superblock.rootLevel,
      generation: superblock.generation, lastSnapshot: 0, context: context)
    self.root = root

    var opened: [TreeID: Entry] = [:]
    func open(_ id: TreeID) throws(FilesystemError) -> Tree {
      let entry = try Self.open(id, root: root, context: context)
      opened[id] = entry
      return entry.tree
    }
    extent = try open(.extent)
    device = try open(.device)
    checksum = try open(.checksum)
    do throws(FilesystemError) {
      uuid = try open(.uuid)
    } catch .notFound {
      uuid = nil
    }
    comfortableCount = max(memory.limit / treeBytes, Self.fewest)
    state = Guarded(State(entries: opened, bound: comfortableCount), rank: .leaf)
  }

  /// What a tree takes beside its root block, with its lock and its place here.
  private static let objectBytes = 1024
  /// So many trees of subvolumes may be open whatever the budget.
  private static let fewest = 16

  private static func open(
    _ id: TreeID, root: Tree, context: TreeContext
  ) throws(FilesystemError) -> Entry {
    // A snapshot's root item has the transaction that made it as its key's offset.
    let last = Key(id.objectID, .rootItem, .max)
    let found = try root.findLast(atMost: last) {
      (key, bytes) throws(FilesystemError) -> (Key, RootItem)? in
      guard key.objectID == id.objectID, key.type == .rootItem else { return nil }
      return (key, try RootItem(bytes))
    }
    guard let found, let (key, item) = found, item.references > 0 || !id.isSubvolume else {
      throw .notFound
    }
    let tree = try Tree(
      id: id, address: item.address, level: item.level, generation: item.generation,
      lastSnapshot: item.lastSnapshot, context: context)
    return Entry(
      tree: tree, rootItemKey: key, savedAddress: item.address, savedSnapshot: item.lastSnapshot)
  }

  /// A subvolume's tree. Throws `.notFound` when there is none of this number.
  package func subvolume(_ id: TreeID) throws(FilesystemError) -> Tree {
    guard id.isSubvolume else { throw .notFound }
    while true {
      let (known, isDeleted, departures) = state.withLock {
        ($0.entries[id]?.tree, $0.deleted.contains(id), $0.departures)
      }
      if isDeleted { throw .notFound }
      if let known { return known }

      let entry = try Self.open(id, root: root, context: context)
      let moved = context.movedRoots.withLock { $0 }
      let tree = try state.withLock { state throws(FilesystemError) -> Tree? in
        // Deleted meanwhile.
        if state.deleted.contains(id) { throw .notFound }
        if let present = state.entries[id] { return present.tree }
        // Another thread may have opened it, changed it and let it go.
        guard state.departures == departures else { return nil }
        add(entry, moved: moved, &state)
        return entry.tree
      }
      if let tree { return tree }
    }
  }

  /// Adds the tree of a subvolume.
  ///
  /// - Parameter moved: `TreeContext.movedRoots`, which has the same rank as the lock held here.
  func add(_ entry: Entry, moved: Set<TreeID>, _ state: inout State) {
    if state.subvolumes >= state.bound { closeUnused(moved: moved, &state) }
    state.entries[entry.tree.id] = entry
    state.subvolumes += 1
    memory.charge(treeBytes)
  }

  /// Takes the tree of a subvolume out, which is there.
  func remove(_ id: TreeID, _ state: inout State) {
    state.entries[id] = nil
    state.subvolumes -= 1
    state.departures += 1
    memory.giveBack(treeBytes)
  }

  /// How many subvolumes' trees are open.
  package var openSubvolumes: Int { state.withLock { $0.subvolumes } }

  /// Lets go of every subvolume's tree that nobody uses and that has nothing to be written. Where
  /// most are in use the next look comes after a good many more have been opened.
  private func closeUnused(moved: Set<TreeID>, _ state: inout State) {
    for id in Array(state.entries.keys)
    where id.isSubvolume && id != .topLevel && !moved.contains(id) {
      guard Self.isUnused(id, in: &state) else { continue }
      remove(id, &state)
    }
    state.bound = max(comfortableCount, state.subvolumes + comfortableCount / 4)
  }

  /// The tree's lock is of a lower rank than the one held here, and is not needed: nobody else
  /// refers to the tree.
  private static func isUnused(_ id: TreeID, in state: inout State) -> Bool {
    guard let index = state.entries.index(forKey: id),
      isKnownUniquelyReferenced(&state.entries.values[index].tree)
    else { return false }
    let entry = state.entries.values[index]
    return entry.tree.root.address == entry.savedAddress
      && entry.tree.contentChange <= entry.savedChange
      && entry.tree.lastSnapshot <= entry.savedSnapshot
  }

  /// A tree that not every file system has, such as the quota tree; nil when there is none.
  package func optional(_ id: TreeID) throws(FilesystemError) -> Tree? {
    precondition(!id.isSubvolume)
    if let tree = state.withLock({ $0.entries[id]?.tree }) { return tree }
    let entry: Entry
    do throws(FilesystemError) {
      entry = try Self.open(id, root: root, context: context)
    } catch .notFound {
      return nil
    }
    return state.withLock { state in
      if let present = state.entries[id] { return present.tree }
      state.entries[id] = entry
      return entry.tree
    }
  }

  /// The numbers of all subvolumes that are not deleted.
  package func subvolumeIDs() throws(FilesystemError) -> [TreeID] {
    var ids: [TreeID] = []
    try root.forEach(from: Key(TreeID.topLevel.objectID, .rootItem, 0)) {
      (key, bytes) throws(FilesystemError) in
      guard key.type == .rootItem else { return true }
      let id = TreeID(key.objectID.rawValue)
      guard id.isSubvolume else { return id.rawValue < UInt64.max - 255 }
      if try RootItem(bytes).references > 0, ids.last != id { ids.append(id) }
      return true
    }
    return ids
  }

  /// Makes the root tree's blocks that `updateRootItems` would change now the running
  /// transaction's own. Says whether any was copied.
  func prepareRootItems(
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    let moved = context.movedRoots.withLock { $0.sorted() }
    var hasCopied = false
    for id in moved {
      guard let entry = state.withLock({ $0.entries[id] }),
        entry.tree.rootState.address != entry.savedAddress
      else { continue }
      if try root.preparePath(to: entry.rootItemKey, in: handle) { hasCopied = true }
      handle.noteWhole()
    }
    return hasCopied
  }

  /// Writes the root items of the trees whose root block is another than they say: those whose
  /// root has moved since the last call. Returns whether any was. An error leaves some unwritten
  /// for good, so it has to abort the volume.
  package func updateRootItems(
    now: Timestamp, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    let moved = context.movedRoots.withLock { moved in
      defer { moved.removeAll(keepingCapacity: true) }
      return moved.sorted()
    }
    var hasChanged = false

    for id in moved {
      // The root tree and the chunk tree have none.
      guard let entry = self.state.withLock({ $0.entries[id] }) else { continue }
      let state = entry.tree.rootState
      let change = id.isSubvolume ? entry.tree.lastContentChange : 0
      let snapshot = id.isSubvolume ? entry.tree.lastSnapshot : 0
      // One that is made and has a snapshot in one transaction keeps its root block.
      guard
        state.address != entry.savedAddress || change > entry.savedChange
          || snapshot > entry.savedSnapshot
      else { continue }
      hasChanged = true
      let item = try currentItem(of: entry, now: now, handle.generation)
      // One of the old, short form becomes a whole one.
      try root.replace(entry.rootItemKey, size: RootItem.size, in: handle) { item.encode(into: $0) }
      self.state.withLock {
        $0.entries[id]?.didSave(
          state.address, delta: state.blockDelta, change: change, snapshot: snapshot)
      }
    }
    return hasChanged
  }

  /// What a tree's root item has to say now.
  func currentItem(
    of entry: Entry, now: Timestamp, _ generation: Generation
  ) throws(FilesystemError) -> RootItem {
    let id = entry.tree.id
    let state = entry.tree.rootState
    let nodeSize = Int64(context.geometry.nodeSize)
    let found = try root.find(entry.rootItemKey) { (bytes) throws(FilesystemError) in
      try RootItem(bytes)
    }
    guard var item = found else { throw .corrupt("tree \(id) has lost its root item") }
    item.address = state.address
    item.level = state.level
    item.generation = state.generation
    if id.isSubvolume { item.lastSnapshot = max(item.lastSnapshot, entry.tree.lastSnapshot) }
    let gained = state.blockDelta - entry.savedBlockDelta
    let bytesUsed = Int64(clamping: item.bytesUsed).addingReportingOverflow(
      Int64(gained) * nodeSize)
    item.bytesUsed = UInt64(max(bytesUsed.partialValue, nodeSize))
    // What a balance moves is no change that anybody should see.
    if id.isSubvolume, entry.tree.lastContentChange > entry.savedChange {
      item.lastChange = generation
      item.changeTime = now
    }
    return item
  }

  /// What does not hold once `updateRootItems` has nothing left to do (invariant 2), and of a path of
  /// one tree, another one at each transaction.
  func brokenInvariants() -> [String] {
    let entries = state.withLock { $0.entries }
    var broken = entries.compactMap { id, entry in
      let state = entry.tree.rootState
      return state.address == entry.savedAddress
        ? nil
        : "tree \(id) stands at \(state.address), its root item says \(entry.savedAddress)"
    }
    let others = entries.values.map(\.tree).filter { !$0.isDoomed }
    let trees = ([root, chunk] + others).sorted { $0.id < $1.id }
    let turn = context.cache.newestOnDevice.rawValue
    let tree = trees[Int(turn % UInt64(trees.count))]
    if let what = tree.brokenInvariant(turn: turn / UInt64(trees.count)) { broken.append(what) }
    return broken
  }

  /// Throws when a tree is not what `Tree` promises. For tests: it reads all trees but those of
  /// deleted subvolumes, and nobody may change any meanwhile.
  package func checkInvariants() throws(FilesystemError) {
    try root.checkInvariants()
    try chunk.checkInvariants()
    let open = state.withLock { $0.entries.values.map(\.tree) }
    for tree in open where !tree.isDoomed { try tree.checkInvariants() }
    for id in try subvolumeIDs() where !open.contains(where: { $0.id == id }) {
      try subvolume(id).checkInvariants()
    }
  }
}

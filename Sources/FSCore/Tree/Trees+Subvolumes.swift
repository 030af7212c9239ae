/// Trees of subvolumes that are made and end.
extension Trees {
  /// A number that no subvolume has, nor had in this mount. Files of the record of free space have
  /// theirs from the same numbers (format §6.7): so this is asked for, and used, while nobody else
  /// changes the root tree.
  package func newSubvolumeID() throws(FilesystemError) -> TreeID {
    let last = try root.findLast(atMost: Key(.lastFree, ItemType(.max), .max)) { key, _ in
      key.objectID.rawValue
    }
    let highest = max(last ?? 0, TreeID.firstSubvolume.rawValue - 1)
    let new = state.withLock { max(highest, $0.lastNewSubvolume) + 1 }
    guard TreeID(new).isSubvolume else { throw .noSpace }
    return TreeID(new)
  }

  /// Makes the tree of a new subvolume, empty, with its root item (format §6.8).
  package func createSubvolume(
    _ id: TreeID, uuid: UUIDBytes, now: Timestamp, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Tree {
    handle.noteChange()
    let tree = try Tree(creating: id, context: context, in: handle)
    let state = tree.rootState
    var item = RootItem(
      address: state.address, level: state.level, generation: handle.generation,
      nodeSize: context.geometry.nodeSize)
    item.markFlagsAsValid()
    item.rootDirectory = .firstFree
    item.uuid = uuid
    item.lastChange = handle.generation
    item.creationTransaction = handle.generation
    item.changeTime = now
    item.creationTime = now
    try insert(tree, item, Key(id.objectID, .rootItem, 0), in: handle)
    return tree
  }

  /// Makes the tree of a snapshot of `source`, with its root item (format §6.9). The handle is of
  /// `performAlone`.
  package func createSnapshot(
    _ id: TreeID, of source: TreeID, uuid: UUIDBytes, isReadOnly: Bool, now: Timestamp,
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> (tree: Tree, item: RootItem) {
    guard let entry = state.withLock({ $0.entries[source] }) else { throw .notFound }
    let tree = try entry.tree.makeSnapshot(id, in: handle)
    var item = try currentItem(of: entry, now: now, handle.generation)
    let state = tree.rootState
    item.markFlagsAsValid()
    item.address = state.address
    item.level = state.level
    item.generation = state.generation
    item.lastSnapshot = handle.generation
    item.isReadOnly = isReadOnly
    item.references = 1
    item.parentUUID = item.uuid
    item.uuid = uuid
    item.creationTransaction = handle.generation
    item.creationTime = now
    // A read-only one says what was received, still.
    if !isReadOnly { item.clearReceived() }
    // Blocks up to that transaction are not the snapshot's own: a deletion need not look at them.
    // Linux has the present one there, in which nothing more can happen to a snapshot of its.
    let origin = handle.generation.rawValue - 1
    try insert(tree, item, Key(id.objectID, .rootItem, origin), in: handle)
    return (tree, item)
  }

  private func insert(
    _ tree: Tree, _ item: RootItem, _ key: Key, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let rootState = tree.rootState
    let entry = Entry(
      tree: tree, rootItemKey: key, savedAddress: rootState.address,
      savedBlockDelta: rootState.blockDelta, savedChange: tree.lastContentChange,
      savedSnapshot: item.lastSnapshot)
    let moved = context.movedRoots.withLock { $0 }
    // Before the root item is there: whoever finds that would open the tree once more.
    state.withLock { state in
      state.lastNewSubvolume = tree.id.rawValue
      add(entry, moved: moved, &state)
    }
    do throws(FilesystemError) {
      try root.insert(key, size: RootItem.size, in: handle) { item.encode(into: $0) }
    } catch {
      state.withLock { remove(tree.id, &$0) }
      throw error
    }
    // What changes in it before the commit may leave its root block where it is.
    context.movedRoots.withLock { _ = $0.insert(tree.id) }
  }

  /// The root item of a subvolume, deleted or not, and its key; nil when there is none.
  package func rootItem(
    of id: TreeID
  ) throws(FilesystemError) -> (key: Key, item: RootItem)? {
    // The offset is a snapshot's transaction: whatever it is, there is one item for the id.
    try root.findLast(atMost: Key(id.objectID, .rootItem, .max)) {
      (key, bytes) throws(FilesystemError) in
      guard key.objectID == id.objectID, key.type == .rootItem else { return nil }
      return (key, try RootItem(bytes))
    } ?? nil
  }

  /// Changes what a root item says, beside where the tree stands. Returns whether there is one.
  @discardableResult
  package func modifyRootItem(
    of id: TreeID, in handle: borrowing TransactionHandle, _ change: (inout RootItem) -> Void
  ) throws(FilesystemError) -> Bool {
    guard let (key, found) = try rootItem(of: id) else { return false }
    var item = found
    change(&item)
    try root.replace(key, size: RootItem.size, in: handle) { item.encode(into: $0) }
    return true
  }
}

extension Trees {
  private static func orphanKey(_ id: TreeID) -> Key { Key(.orphan, .orphanItem, id.rawValue) }

  /// Says in the image that a subvolume is deleted: its tree is to be taken apart, by whoever mounts
  /// it (format §6.10). Nothing leads to it any more but its root item.
  package func markDeleted(
    _ id: TreeID, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    try modifyRootItem(of: id, in: handle) { item in
      item.references = 0
      item.isDead = true
      item.dropProgress = .zero
      item.dropLevel = 0
    }
    try root.replace(Self.orphanKey(id), size: 0, in: handle) { _ in }
    state.withLock { state in
      state.deleted.insert(id)
      state.entries[id]?.tree.doom()
    }
  }

  /// Deleted subvolumes whose trees are there still.
  package func deletedSubvolumes() throws(FilesystemError) -> [TreeID] {
    var listed: [TreeID] = []
    try root.forEach(from: Key(.orphan, .orphanItem, 0), through: Key(.orphan, .orphanItem, .max)) {
      (key, _) throws(FilesystemError) in
      listed.append(TreeID(key.offset))
      return true
    }
    var deleted: [TreeID] = []
    // Files of the record of free space may be listed as well.
    for id in listed where id.isSubvolume && id != .topLevel {
      if let (_, item) = try rootItem(of: id), item.references == 0 { deleted.append(id) }
    }
    return deleted
  }

  /// Lets go of the tree of a deleted subvolume, which nobody will use any more: its root item says
  /// from now on where it stands. The handle is of `performAlone`.
  func detach(_ id: TreeID, in handle: borrowing TransactionHandle) throws(FilesystemError) {
    guard let entry = state.withLock({ $0.entries[id] }) else { return }
    let item = try currentItem(of: entry, now: .now, handle.generation)
    try root.replace(entry.rootItemKey, size: RootItem.size, in: handle) { item.encode(into: $0) }
    state.withLock { remove(id, &$0) }
    entry.tree.retire()
  }

  /// Removes what the root tree has of a deleted subvolume whose blocks are gone.
  func forget(
    _ id: TreeID, rootItem: Key, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    _ = try root.delete(rootItem, in: handle)
    _ = try root.delete(Self.orphanKey(id), in: handle)
    state.withLock { state in
      state.deleted.remove(id)
      state.departures += 1
    }
  }

  /// Makes the blocks ready that `forget` and `modifyRootItem` change.
  func prepareForgetting(
    _ id: TreeID, rootItem: Key, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    _ = try root.preparePath(to: rootItem, in: handle)
    _ = try root.preparePath(to: Self.orphanKey(id), in: handle)
  }
}

extension TreeID {
  /// Those that users make begin here.
  package static let firstSubvolume: TreeID = 256
}

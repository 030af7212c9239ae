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
    try insert(tree, item, Key(id.objectID, .rootItem, handle.generation.rawValue), in: handle)
    return (tree, item)
  }

  private func insert(
    _ tree: Tree, _ item: RootItem, _ key: Key, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    try root.insert(key, size: RootItem.size, in: handle) { item.encode(into: $0) }
    let rootState = tree.rootState
    let entry = Entry(
      tree: tree, rootItemKey: key, savedAddress: rootState.address,
      savedBlockDelta: rootState.blockDelta, savedChange: tree.lastContentChange)
    state.withLock { state in
      state.lastNewSubvolume = tree.id.rawValue
      add(entry, &state)
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

extension TreeID {
  /// Those that users make begin here.
  package static let firstSubvolume: TreeID = 256
}

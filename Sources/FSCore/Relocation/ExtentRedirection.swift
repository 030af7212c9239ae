/// Lets file extent items refer to the copy of an extent, and counts the references.
struct ExtentRedirection {
  let references: DelayedReferences
  let old: LogicalAddress
  let new: LogicalAddress
  let kind: ExtentKind
  /// Whether the copy has no reference yet.
  var isNew: Bool

  /// Changes an item of a tree, in a leaf that the tree has for itself afterwards.
  mutating func change(
    _ key: Key, in tree: Tree, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let item = try tree.modifyUnseen(key, in: handle) { bytes throws(FilesystemError) in
      try change(bytes, key)
    }
    guard let item else { throw .corrupt("file extent \(key) vanished") }
    count(
      .data(root: tree.id, inode: key.objectID, offset: key.offset &- item.offset), in: handle)
  }

  /// Changes an item in a leaf that stays what its trees share.
  mutating func change(
    _ key: Key, in leaf: TreeBlock, _ isFull: Bool, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let (slot, isFound) = leaf.lowerBound(key)
    guard isFound else { throw .corrupt("file extent \(key) vanished") }
    let item = try change(leaf.mutableItem(slot), key)
    count(
      isFull
        ? .sharedData(parent: leaf.address)
        : .data(root: leaf.owner, inode: key.objectID, offset: key.offset &- item.offset),
      in: handle)
  }

  private func change(
    _ bytes: UnsafeMutableRawBufferPointer, _ key: Key
  ) throws(FilesystemError) -> FileExtentItem {
    var item = try FileExtentItem(UnsafeRawBufferPointer(bytes).bytes)
    guard item.hasExtent, item.diskAddress == old, kind == .data(length: item.diskLength) else {
      throw .corrupt("file extent \(key) changed while its extent was moved")
    }
    item.diskAddress = new
    item.encode(into: bytes)
    return item
  }

  private mutating func count(
    _ identity: ReferenceIdentity, in handle: borrowing TransactionHandle
  ) {
    references.add(new, kind, identity, count: 1, newExtent: isNew, in: handle)
    references.add(old, kind, identity, count: -1, newExtent: false, in: handle)
    isNew = false
  }
}

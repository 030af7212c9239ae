/// Items that hold several entries (DIR_ITEM, INODE_REF, XATTR_ITEM): read and changed in memory,
/// where a change may still be refused, and then written in one transaction.
///
/// The inodes that the items belong to are locked from the first `load` to `write`.
struct ItemEdits {
  private struct Item {
    let tree: Tree
    let key: Key
    /// nil while the item is not in the tree.
    let original: Int?
    var bytes: [UInt8]
    var isChanged = false
  }

  private var items: [Item] = []

  /// The item's bytes, with the changes made so far; empty when there is no such item.
  mutating func bytes(of key: Key, _ tree: Tree) throws(FilesystemError) -> [UInt8] {
    items[try load(key, tree)].bytes
  }

  /// As `bytes`, without copying an item to look for an entry in it.
  mutating func find<R>(
    in key: Key, _ tree: Tree, _ body: (RawSpan) throws(FilesystemError) -> R?
  ) throws(FilesystemError) -> R? {
    let index = try load(key, tree)
    let bytes = items[index].bytes
    return try body(bytes.span.bytes)
  }

  mutating func append(
    _ entry: [UInt8], to key: Key, _ tree: Tree
  ) throws(FilesystemError) {
    let index = try load(key, tree)
    items[index].bytes.append(contentsOf: entry)
    items[index].isChanged = true
  }

  /// Takes `range` out of the item; an item that is left with nothing is deleted.
  mutating func remove(
    _ range: Range<Int>, from key: Key, _ tree: Tree
  ) throws(FilesystemError) {
    let index = try load(key, tree)
    items[index].bytes.removeSubrange(range)
    items[index].isChanged = true
  }

  private mutating func load(_ key: Key, _ tree: Tree) throws(FilesystemError) -> Int {
    for index in items.indices where items[index].key == key && items[index].tree === tree {
      return index
    }
    let bytes = try tree.find(key) { (span) throws(FilesystemError) in
      span.array(0, span.byteCount)
    }
    items.append(Item(tree: tree, key: key, original: bytes?.count, bytes: bytes ?? []))
    return items.count - 1
  }

  func write(in handle: borrowing TransactionHandle) throws(FilesystemError) {
    for item in items where item.isChanged {
      if item.bytes.isEmpty {
        if item.original != nil { _ = try item.tree.delete(item.key, in: handle) }
      } else if item.original == nil {
        try item.tree.insert(item.key, size: item.bytes.count, in: handle) {
          $0.store(item.bytes, at: 0)
        }
      } else {
        try item.tree.replace(item.key, size: item.bytes.count, in: handle) {
          $0.store(item.bytes, at: 0)
        }
      }
    }
  }
}

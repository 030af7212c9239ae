/// The references that stand as items of their own after their extent's item, because they
/// were too many to stand in it.
///
/// Whoever uses it holds the lock of rank `.extentReferences`.
struct ExtentTreeReferences: Sendable {
  let tree: Tree

  /// How far from its hash the item of a data reference is looked for. Hashes that collide
  /// stand next to each other; where one of them was deleted there is a gap.
  static let longestCollision: UInt64 = 1 << 20

  /// The number of references of `identity` in its keyed item; 0 when there is none.
  func count(
    of identity: ReferenceIdentity, to address: LogicalAddress
  ) throws(FilesystemError) -> UInt32 {
    try locate(identity, of: address).count
  }

  /// Adds to, or takes from, the keyed item of the change's identity: makes the item for its
  /// first reference, deletes it with its last.
  func apply(
    _ change: ReferenceChange, to address: LogicalAddress, in h: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let (key, present) = try locate(change.identity, of: address)
    let (sum, overflow) = Int64(present).addingReportingOverflow(change.count)
    guard !overflow, let count = UInt32(exactly: sum), change.identity.isData || count <= 1 else {
      throw .corrupt("\(present) and \(change.count) references to \(address)")
    }

    if present == 0 {
      try insert(change.identity, count: count, key: key, in: h)
    } else if count == 0 {
      guard try tree.delete(key, in: h) else { throw .corrupt("no reference item \(key)") }
    } else {
      let countOffset = change.identity.itemType == .extentDataRef ? 24 : 0
      let isFound = try tree.modify(key, in: h) { bytes throws(FilesystemError) in
        bytes.store(count, at: countOffset)
        return true
      }
      guard isFound == true else { throw .corrupt("no reference item \(key)") }
    }
  }

  private func insert(
    _ identity: ReferenceIdentity, count: UInt32, key: Key, in h: borrowing TransactionHandle
  ) throws(FilesystemError) {
    switch identity {
    case .treeBlock, .sharedBlock:
      try tree.insert(key, size: 0, in: h) { _ in }
    case .sharedData:
      try tree.insert(key, size: 4, in: h) { $0.store(count, at: 0) }
    case .data(let root, let inode, let offset):
      let reference = ExtentDataReference(root: root, inode: inode, offset: offset, count: count)
      try tree.insert(key, size: ExtentDataReference.size, in: h) { reference.encode(into: $0) }
    }
  }

  /// The key of the item of `identity` and its count; count 0 with the key that the item would
  /// get when there is none.
  private func locate(
    _ identity: ReferenceIdentity, of address: LogicalAddress
  ) throws(FilesystemError) -> (key: Key, count: UInt32) {
    let type = identity.itemType
    let key = Key(ObjectID(address.rawValue), type, identity.sequence)
    switch identity {
    case .treeBlock, .sharedBlock:
      let isPresent = try tree.find(key) { _ throws(FilesystemError) in true } ?? false
      return (key, isPresent ? 1 : 0)

    case .sharedData:
      let count = try tree.find(key) { bytes throws(FilesystemError) in
        guard bytes.byteCount == 4, bytes.u32(0) > 0 else {
          throw .corrupt("a reference item \(key) of \(bytes.byteCount) bytes")
        }
        return bytes.u32(0)
      }
      return (key, count ?? 0)

    case .data:
      return try locateData(identity, from: key)
    }
  }

  /// Looks at the items from that of the hash on; the first free place is that of a new item.
  private func locateData(
    _ identity: ReferenceIdentity, from first: Key
  ) throws(FilesystemError) -> (key: Key, count: UInt32) {
    // A hash has 63 bits.
    let last = Key(first.objectID, first.type, first.offset + Self.longestCollision)
    var free = first
    var found: (key: Key, count: UInt32)?
    try tree.forEach(from: first, through: last) { (key, bytes) throws(FilesystemError) in
      guard bytes.byteCount == ExtentDataReference.size else {
        throw .corrupt("a reference item \(key) of \(bytes.byteCount) bytes")
      }
      let reference = ExtentDataReference(bytes)
      if reference.identity == identity {
        guard reference.count > 0 else { throw .corrupt("a reference item \(key) with count 0") }
        found = (key, reference.count)
        return false
      }
      if key == free { free.offset += 1 }
      return true
    }
    if let found { return found }
    guard free <= last else { throw .corrupt("too many references to \(first.objectID) collide") }
    return (free, 0)
  }
}

/// The items that refer to an extent: for moving it.
extension DelayedReferences {
  /// All references of an extent with their counts, by the extent tree and all that is noted. Empty
  /// when the extent is gone.
  package func referrers(
    of address: LogicalAddress, _ kind: ExtentKind
  ) throws(FilesystemError) -> [ReferenceIdentity: Int64] {
    try lock.withLock { _ throws(FilesystemError) in
      let head = queue.withLock { $0.heads[address] }
      if let head, head.kind != kind || head.isContradictory {
        throw .corrupt("contradictory references to \(address)")
      }
      var counts: [ReferenceIdentity: Int64] = [:]
      if head?.isNew != true {
        guard let (_, record) = try findItem(address, kind) else { return [:] }
        for reference in record.inlineReferences {
          counts[reference.identity, default: 0] += Int64(reference.count)
        }
        if record.keyedCount > 0 { try addKeyed(address, into: &counts) }
      }
      try head?.forEachChange { change throws(FilesystemError) in
        counts[change.identity, default: 0] += change.count
      }
      return counts.filter { $0.value > 0 }
    }
  }

  /// Adds the references that stand in items of their own. `lock` is held.
  private func addKeyed(
    _ address: LogicalAddress, into counts: inout [ReferenceIdentity: Int64]
  ) throws(FilesystemError) {
    let object = ObjectID(address.rawValue)
    try extentTree.forEach(
      from: Key(object, .treeBlockRef, 0), through: Key(object, .sharedDataRef, .max)
    ) { (key, bytes) throws(FilesystemError) in
      switch key.type {
      case .treeBlockRef: counts[.treeBlock(root: TreeID(key.offset)), default: 0] += 1
      case .sharedBlockRef:
        counts[.sharedBlock(parent: LogicalAddress(key.offset)), default: 0] += 1
      case .sharedDataRef:
        guard bytes.byteCount == 4 else { throw .corrupt("a reference item \(key)") }
        counts[.sharedData(parent: LogicalAddress(key.offset)), default: 0] += Int64(bytes.u32(0))
      case .extentDataRef:
        guard bytes.byteCount == ExtentDataReference.size else {
          throw .corrupt("a reference item \(key)")
        }
        let reference = ExtentDataReference(bytes)
        counts[reference.identity, default: 0] += Int64(reference.count)
      default: break
      }
      return true
    }
  }

  /// The extents that the extent tree has between two addresses, in order; at most `limit`.
  package func extents(
    from start: LogicalAddress, to end: LogicalAddress, atMost limit: Int
  ) throws(FilesystemError) -> [(address: LogicalAddress, kind: ExtentKind)] {
    var found: [(address: LogicalAddress, kind: ExtentKind)] = []
    guard start < end else { return found }
    try extentTree.forEach(
      from: Key(ObjectID(start.rawValue), .untyped, 0),
      through: Key(ObjectID(end.rawValue - 1), ItemType(.max), .max)
    ) { (key, bytes) throws(FilesystemError) in
      let address = LogicalAddress(key.objectID.rawValue)
      if key.type == .metadataItem {
        found.append((address, .treeBlock(level: UInt8(truncatingIfNeeded: key.offset))))
      } else if key.type == .extentItem {
        let record = try ExtentItemRecord(bytes, type: key.type)
        let level = record.treeBlockInfo?.level
        found.append(
          (address, level.map { .treeBlock(level: $0) } ?? .data(length: key.offset)))
      }
      return found.count < limit
    }
    return found
  }
}

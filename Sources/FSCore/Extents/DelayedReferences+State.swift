import Glibc
import Synchronization

extension DelayedReferences {
  /// Runs `body` while nobody applies changes and nobody else is in such a body: what `state`
  /// says in it holds until it returns, provided that all threads that change an extent that may be
  /// shared do it in here. May be called under a tree's lock, but not under the extent tree's.
  package func withReferencesLocked<R>(
    _ body: () throws(FilesystemError) -> R
  ) throws(FilesystemError) -> R {
    try lock.withLock { _ throws(FilesystemError) in
      lockHolder.store(Self.thisThread, ordering: .relaxed)
      defer { lockHolder.store(0, ordering: .relaxed) }
      return try body()
    }
  }

  /// Never 0.
  private static var thisThread: UInt { UInt(pthread_self()) }

  /// How often an extent is referenced, and whether it has FULL_BACKREF, by the extent tree and
  /// all that is noted; may be called within `withReferencesLocked`. Throws `.corrupt` for an extent that nobody knows.
  package func state(
    of address: LogicalAddress, _ kind: ExtentKind
  ) throws(FilesystemError) -> (references: UInt64, fullBackref: Bool) {
    // No other thread can have stored the number of this one.
    if lockHolder.load(ordering: .relaxed) == Self.thisThread {
      return try lockedState(of: address, kind)
    }
    return try lock.withLock { _ throws(FilesystemError) in try lockedState(of: address, kind) }
  }

  /// Whether the data extent has references, all by this identity, with and without what the
  /// running transaction has changed so far: nobody else can see what is written there, nor will
  /// after a crash.
  package func isExclusive(
    data address: LogicalAddress, length: UInt64, root: TreeID, inode: ObjectID, offset: UInt64
  ) throws(FilesystemError) -> Bool {
    let identity = ReferenceIdentity.data(root: root, inode: inode, offset: offset)
    let kind = ExtentKind.data(length: length)
    return try lock.withLock { _ throws(FilesystemError) in
      if formerlyShared.withLock({ $0.contains(address) }) { return false }
      let head = queue.withLock { $0.heads[address] }
      if let head {
        guard head.kind == kind, !head.isContradictory else {
          throw .corrupt("contradictory references to \(address)")
        }
        if head.concernsOthers(than: identity) { return false }
        if head.isNew { return head.balance > 0 }
      }

      guard let (_, record) = try findItem(address, kind) else {
        throw .corrupt("no extent item for \(address)")
      }
      var own = UInt64(record.inlineCount(of: identity))
      if own < record.references && record.keyedCount > 0 {
        let keyed = ExtentTreeReferences(tree: extentTree)
        own += UInt64(try keyed.count(of: identity, to: address))
      }
      guard own == record.references, own <= UInt64(Int64.max) else { return false }
      return Int64(own) + (head?.balance ?? 0) > 0
    }
  }

  /// `lock` is held.
  private func lockedState(
    of address: LogicalAddress, _ kind: ExtentKind
  ) throws(FilesystemError) -> (references: UInt64, fullBackref: Bool) {
    let head = queue.withLock { $0.heads[address] }
    var references: UInt64 = 0
    var fullBackref = false
    if let head, head.kind != kind || head.isContradictory {
      throw .corrupt("contradictory references to \(address)")
    }
    if head?.isNew != true {
      guard let (_, record) = try findItem(address, kind) else {
        throw .corrupt("no extent item for \(address)")
      }
      references = record.references
      fullBackref = record.flags.contains(.fullBackref)
    }

    let (sum, overflow) = Int64(bitPattern: references).addingReportingOverflow(head?.balance ?? 0)
    guard references <= UInt64(Int64.max), !overflow, sum >= 0 else {
      throw .corrupt("\(references) references to \(address) and \(head?.balance ?? 0)")
    }
    return (UInt64(sum), fullBackref || head?.setsFullBackref == true)
  }

  /// The item of an extent and its key; nil when it has none. `lock` is held.
  func findItem(
    _ address: LogicalAddress, _ kind: ExtentKind
  ) throws(FilesystemError) -> (Key, ExtentItemRecord)? {
    for key in itemKeys(address, kind) {
      let record = try extentTree.find(key) { bytes throws(FilesystemError) in
        try ExtentItemRecord(bytes, type: key.type, of: kind)
      }
      if let record { return (key, record) }
    }
    return nil
  }

  /// The keys under which the item of an extent may stand, that of a new one first. A file
  /// system that got skinny items later still has old ones.
  func itemKeys(_ address: LogicalAddress, _ kind: ExtentKind) -> [Key] {
    let object = ObjectID(address.rawValue)
    switch kind {
    case .data(let length): return [Key(object, .extentItem, length)]
    case .treeBlock(let level):
      let full = Key(object, .extentItem, geometry.nodeSize)
      guard geometry.hasSkinnyMetadata else { return [full] }
      return [Key(object, .metadataItem, UInt64(level)), full]
    }
  }
}

extension ExtentItemRecord {
  /// As `init(_:type:)`, for an item that has to be of `kind`.
  init(_ bytes: RawSpan, type: ItemType, of kind: ExtentKind) throws(FilesystemError) {
    try self.init(bytes, type: type)
    guard isTreeBlock == kind.isTreeBlock else {
      throw .corrupt("an extent item with flags \(flags.rawValue) for \(kind)")
    }
    if case .treeBlock(let level) = kind, let treeBlockInfo {
      guard treeBlockInfo.level == level else {
        throw .corrupt("an extent item with level \(treeBlockInfo.level) for \(kind)")
      }
    }
  }
}

/// One pass over the items of a leaf: order and placement, then each item's own rules.
struct LeafChecker {
  let block: UnsafeRawBufferPointer
  let nodeSize: UInt64
  let sectorMask: UInt64
  let checksumSize: Int
  let features: IncompatibleFeatures
  /// The running transaction: no generation in the leaf is above it.
  let newestGeneration: UInt64
  let owner: TreeID

  /// The key before the one being checked; meaningless for the first.
  var previous = Key.zero

  /// Where the last file extent, checksum item, device extent or extent item ended, in the
  /// terms of the key that follows it. Only one of them occurs in any one tree but the root
  /// tree and the log, where the object id keeps them apart.
  var previousEnd: UInt64 = 0

  init(_ block: UnsafeRawBufferPointer, _ geometry: Geometry, _ superGeneration: Generation) {
    self.block = block
    nodeSize = geometry.nodeSize
    sectorMask = geometry.sectorSize - 1
    checksumSize = geometry.checksumType.size
    features = geometry.features
    newestGeneration = superGeneration.rawValue == .max ? .max : superGeneration.rawValue + 1
    owner = TreeID(rawValue: block.u64(BlockHeader.Offset.owner))
  }

  var sectorSize: UInt64 { sectorMask + 1 }

  @inline(__always)
  func isAligned(_ number: UInt64) -> Bool { number & sectorMask == 0 }

  /// `slot` follows the item that is looked at, for the message.
  @inline(__always)
  mutating func check(_ slot: inout Int) throws(BrokenRule) {
    try forEachItem(&slot) { (checker, key, data, slot) throws(BrokenRule) in
      try checker.checkItem(key, data, isFirst: slot == 0)
    }
  }

  /// As `check`, but an item that breaks a rule of its own is told of, and spares the others.
  mutating func check(
    _ slot: inout Int, damaged report: (Int, StaticString) -> Void
  ) throws(BrokenRule) {
    try forEachItem(&slot) { (checker, key, data, slot) throws(BrokenRule) in
      if let rule = checker.brokenRule(key, data, isFirst: slot == 0) { report(slot, rule) }
    }
  }

  private mutating func brokenRule(
    _ key: Key, _ data: UnsafeRawBufferPointer, isFirst: Bool
  ) -> StaticString? {
    do throws(BrokenRule) {
      try checkItem(key, data, isFirst: isFirst)
      return nil
    } catch {
      return error.text
    }
  }

  /// Looks at the order and the placement of the items, and lets `body` look at each.
  @inline(__always)
  private mutating func forEachItem(
    _ slot: inout Int,
    _ body: (inout Self, Key, UnsafeRawBufferPointer, Int) throws(BrokenRule) -> Void
  ) throws(BrokenRule) {
    let count = Int(block.u32(BlockHeader.Offset.itemCount))
    let capacity = block.count - Format.headerSize
    try require(count <= capacity / Format.itemHeaderSize, "an impossible number of items")
    try require(count > 0 || mayBeEmpty, "an empty leaf of a tree that is never empty")

    let headersEnd = count * Format.itemHeaderSize
    var dataEnd = capacity
    for index in 0..<count {
      slot = index
      let at = Format.headerSize + index * Format.itemHeaderSize
      let key = Key(block, at: at)
      try require(index == 0 || previous < key, "keys out of order")

      let start = Int(block.u32(at + 0x11))
      let size = Int(block.u32(at + 0x15))
      try require(start + size == dataEnd, "item data is not packed")
      try require(start >= headersEnd, "item data overlaps the item headers")
      dataEnd = start

      try body(&self, key, block.part(Format.headerSize + start, size), index)
      previous = key
    }
  }

  private var mayBeEmpty: Bool {
    switch owner {
    case .root, .extent, .chunk, .device, .topLevel, .dataRelocation: false
    default: true
    }
  }

  @inline(__always)
  private mutating func checkItem(
    _ key: Key, _ data: UnsafeRawBufferPointer, isFirst: Bool
  ) throws(BrokenRule) {
    switch key.type {
    case .inodeItem:
      try checkInode(key, data)
    case .inodeRef:
      try checkFollowsItsInode(key, isFirst)
      try checkInodeReferences(data, fixedSize: 10)
    case .inodeExtref:
      try checkInodeReferences(data, fixedSize: 18)
    case .dirItem, .dirIndex, .xattrItem:
      try checkFollowsItsInode(key, isFirst)
      try checkDirectoryEntries(key, data)
    case .extentData:
      try checkFollowsItsInode(key, isFirst)
      try checkFileExtent(key, data, isFirst)
    case .extentCsum:
      try checkChecksums(key, data, isFirst)
    case .extentItem, .metadataItem:
      try checkExtent(key, data)
    case .treeBlockRef, .sharedBlockRef, .extentDataRef, .sharedDataRef:
      try checkKeyedReference(key, data)
    case .blockGroupItem:
      try checkBlockGroup(key, data)
    case .rootItem:
      try checkRoot(key, data)
    case .rootRef, .rootBackref:
      try checkRootReference(data)
    case .chunkItem:
      try ChunkRules.checkChunk(
        key, data, sectorSize: sectorSize, features: features)
    case .devItem:
      try ChunkRules.checkDevice(key, data)
    case .devExtent:
      try checkDeviceExtent(key, data, isFirst)
    default:
      // Nothing is known about it, or its decoder looks at its size alone.
      break
    }
  }

  /// Catches an inode whose INODE_ITEM is missing, as far as one leaf can show it.
  @inline(__always)
  private func checkFollowsItsInode(_ key: Key, _ isFirst: Bool) throws(BrokenRule) {
    guard !isFirst, owner.isSubvolume else { return }
    try require(previous.objectID == key.objectID, "an item without its inode")
  }
}

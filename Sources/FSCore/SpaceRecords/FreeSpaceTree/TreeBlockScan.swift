/// Finds the blocks of a tree by what the extent tree says of them, so that the tree itself need not
/// be readable. All references to its blocks have been applied.
struct TreeBlockScan {
  let space: Space
  let trees: Trees

  /// The blocks whose only reference is that of tree `id`, in ascending order. One that is another
  /// tree's, by what stands in it, is left out, whatever the extent tree says: somebody may need
  /// it.
  func blocks(
    of id: TreeID
  ) throws(FilesystemError) -> [(address: LogicalAddress, level: UInt8)] {
    precondition(!id.kind.isShareable)
    var found: [(address: LogicalAddress, level: UInt8)] = []
    for group in space.groups.all where group.flags.contains(.metadata) {
      let first = Key(ObjectID(group.start.rawValue), .untyped, 0)
      let last = Key(ObjectID(group.end.rawValue - 1), ItemType(.max), .max)
      try trees.extent.forEach(from: first, through: last) { key, bytes throws(FilesystemError) in
        if let level = Self.level(key, bytes, id) {
          found.append((LogicalAddress(key.objectID.rawValue), level))
        }
        return true
      }
    }
    let cache = trees.context.cache
    return found.filter { !cache.belongsToOther(than: id, at: $0.address) }
  }

  /// The level of the block that an extent item is for, when it is one of tree `id` alone. Made for
  /// going over many items: most are others'.
  private static func level(_ key: Key, _ bytes: RawSpan, _ id: TreeID) -> UInt8? {
    let start = ExtentItemRecord.headerSize
    let info = key.type == .extentItem ? ExtentItemRecord.TreeBlockInfo.size : 0
    guard key.type == .metadataItem || key.type == .extentItem,
      bytes.byteCount == start + info + 9, bytes.u64(0) == 1,
      bytes.u64(16) == ExtentItemRecord.Flags.treeBlock.rawValue,
      bytes.u8(start + info) == ItemType.treeBlockRef.rawValue,
      bytes.u64(start + info + 1) == id.rawValue
    else { return nil }
    let level = info > 0 ? bytes.u8(start + Key.size) : UInt8(truncatingIfNeeded: key.offset)
    return level <= Format.maximumLevel ? level : nil
  }
}

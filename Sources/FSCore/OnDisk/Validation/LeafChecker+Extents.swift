/// Rules of the extent tree: extents, references to them, block groups.
extension LeafChecker {
  mutating func checkExtent(_ key: Key, _ data: UnsafeRawBufferPointer) throws(BrokenRule) {
    try require(isAligned(key.objectID.rawValue), "an extent at an address that is not aligned")
    try require(data.count >= 24, "an extent item that is too short")
    let references = data.u64(0)
    try require(references > 0, "an extent that nothing refers to")
    try require(data.u64(8) <= newestGeneration, "an extent from a future transaction")

    let isSkinny = key.type == .metadataItem
    var at = 24
    let length: UInt64
    switch data.u64(0x10) & ~0x100 {
    case 2:
      if isSkinny {
        try require(features.contains(.skinnyMetadata), "a METADATA_ITEM without its feature")
        try require(key.offset <= UInt64(Format.maximumLevel), "a tree block above level 7")
      } else {
        try require(key.offset == nodeSize, "a tree block of the wrong length")
        try require(data.count >= at + 18, "an extent item that is too short")
        try require(data.u8(at + 17) <= Format.maximumLevel, "a tree block above level 7")
        at += 18
      }
      length = nodeSize
    case 1:
      try require(!isSkinny, "a METADATA_ITEM of data")
      try require(data.u64(0x10) & 0x100 == 0, "a full back reference of data")
      try require(key.offset > 0 && isAligned(key.offset), "an extent of an impossible length")
      length = key.offset
    default:
      throw BrokenRule(text: "an extent with unknown flags")
    }

    let isData = data.u64(0x10) & 1 != 0
    let counted = try sumOfInlineReferences(data, from: at, isData: isData)
    try require(counted <= references, "more references in an extent item than it counts")

    let end = key.objectID.rawValue.addingReportingOverflow(length)
    try require(!end.overflow, "an extent beyond the largest address")
    try require(previousEnd <= key.objectID.rawValue, "extents that overlap")
    previousEnd = end.partialValue
  }

  /// Checks the order of the inline references: types rise, and within a type a sequence
  /// number falls. That of data references is their hash.
  private func sumOfInlineReferences(
    _ data: UnsafeRawBufferPointer, from start: Int, isData: Bool
  ) throws(BrokenRule) -> UInt64 {
    var at = start
    var sum: UInt64 = 0
    var lastType: UInt8 = 0
    var lastAt = 0
    while at < data.count {
      let type = data.u8(at)
      try require(type >= lastType, "inline references out of order")
      let size: Int
      switch type {
      case ItemType.treeBlockRef.rawValue, ItemType.sharedBlockRef.rawValue:
        size = 9
      case ItemType.extentDataRef.rawValue:
        size = 29
      case ItemType.sharedDataRef.rawValue:
        size = 13
      default:
        throw BrokenRule(text: "an inline reference of unknown type")
      }
      try require(data.count - at >= size, "an inline reference that is cut off")

      let isOfData = size != 9
      try require(isOfData == isData, "an inline reference of the wrong kind")
      if isOfData {
        let count = data.u32(at + size - 4)
        try require(count > 0, "an inline reference that counts nothing")
        sum += UInt64(count)
      } else {
        sum += 1
      }
      if type == ItemType.extentDataRef.rawValue {
        try require(isAligned(data.u64(at + 17)), "a reference to an offset that is not aligned")
      } else if type != ItemType.treeBlockRef.rawValue {
        try require(isAligned(data.u64(at + 1)), "a reference from an address that is not aligned")
      }
      if type == lastType {
        try require(
          sequence(data, at) <= sequence(data, lastAt), "inline references out of order")
      }
      lastType = type
      lastAt = at
      at += size
    }
    return sum
  }

  private func sequence(_ data: UnsafeRawBufferPointer, _ at: Int) -> UInt64 {
    guard data.u8(at) == ItemType.extentDataRef.rawValue else { return data.u64(at + 1) }
    return FormatHash.dataReference(
      root: TreeID(rawValue: data.u64(at + 1)), inode: ObjectID(rawValue: data.u64(at + 9)),
      offset: data.u64(at + 17))
  }

  func checkKeyedReference(_ key: Key, _ data: UnsafeRawBufferPointer) throws(BrokenRule) {
    try require(
      isAligned(key.objectID.rawValue), "a reference to an address that is not aligned")
    switch key.type {
    case .treeBlockRef:
      try require(data.isEmpty, "a tree block reference with content")
    case .sharedBlockRef:
      try require(data.isEmpty, "a tree block reference with content")
      try require(isAligned(key.offset), "a reference from an address that is not aligned")
    case .sharedDataRef:
      try require(data.count == 4, "a shared data reference of the wrong size")
      try require(data.u32(0) > 0, "a reference that counts nothing")
      try require(isAligned(key.offset), "a reference from an address that is not aligned")
    default:
      try require(
        data.count > 0 && data.count % 28 == 0, "a data reference of the wrong size")
      for at in stride(from: 0, to: data.count, by: 28) {
        try require(isAligned(data.u64(at + 16)), "a reference to an offset that is not aligned")
        try require(data.u32(at + 24) > 0, "a reference that counts nothing")
      }
    }
  }

  func checkBlockGroup(_ key: Key, _ data: UnsafeRawBufferPointer) throws(BrokenRule) {
    let start = key.objectID.rawValue
    try require(data.count == BlockGroupItem.size, "a block group item of the wrong size")
    try require(
      key.offset > 0 && isAligned(start | key.offset), "a block group of an impossible length")
    try require(
      !start.addingReportingOverflow(key.offset).overflow,
      "a block group beyond the largest address")
    try require(data.u64(8) == 256, "a block group of an unknown chunk tree")
    try require(data.u64(0) <= key.offset, "a block group that uses more than it has")
    // Whether a mixed group is allowed is the chunk's matter.
    try ChunkRules.checkFlags(BlockGroupFlags(rawValue: data.u64(0x10)), mixed: true)
  }
}

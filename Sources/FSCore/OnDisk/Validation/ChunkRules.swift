/// Rules of the items that lay logical addresses out on devices. Also for the chunks in the
/// superblock, which no leaf holds.
enum ChunkRules {
  /// `data` is the item alone. Passing means that the end of the chunk, and that of each of
  /// its stripes, can be computed without overflow.
  static func checkChunk(
    _ key: Key, _ data: UnsafeRawBufferPointer, sectorSize: UInt64,
    features: IncompatibleFeatures
  ) throws(BrokenRule) {
    let fixedSize = ChunkItem.fixedSize
    try require(data.count >= fixedSize + ChunkItem.stripeSize, "a chunk item too short")
    let count = Int(data.u16(0x2c))
    try require(
      data.count == fixedSize + count * ChunkItem.stripeSize, "a chunk item of the wrong size")
    try require(key.objectID == .firstChunkTree, "a chunk with an impossible object id")

    let length = data.u64(0)
    let sectorMask = sectorSize - 1
    try require(
      length > 0 && (length | key.offset) & sectorMask == 0, "a chunk that is not aligned")
    try require(
      !key.offset.addingReportingOverflow(length).overflow, "a chunk beyond the largest address")
    try require(data.u64(0x10) == Format.stripeLength, "a chunk with an unknown stripe length")
    try require(UInt64(data.u32(0x28)) == sectorSize, "a chunk with another sector size")

    let flags = BlockGroupFlags(rawValue: data.u64(0x18))
    try checkFlags(flags, mixed: features.contains(.mixedGroups))
    try checkStripeCount(flags, count, subStripes: data.u16(0x2e))
    for index in 0..<count {
      let offset = data.u64(fixedSize + index * ChunkItem.stripeSize + 8)
      // A stripe is never longer than its chunk.
      try require(
        offset & sectorMask == 0 && !offset.addingReportingOverflow(length).overflow,
        "a chunk with an impossible stripe")
    }
  }

  static func checkFlags(_ flags: BlockGroupFlags, mixed: Bool) throws(BrokenRule) {
    try require(
      flags.subtracting([.types, .profiles]).isEmpty, "a block group of unknown type")
    let profile = flags.intersection(.profiles).rawValue
    try require(profile & (profile &- 1) == 0, "a block group with several profiles")
    switch flags.intersection(.types) {
    case .data, .metadata, .system: break
    case [.data, .metadata]: try require(mixed, "a mixed block group without its feature")
    default: throw BrokenRule(text: "a block group of an impossible type")
    }
  }

  private static func checkStripeCount(
    _ flags: BlockGroupFlags, _ count: Int, subStripes: UInt16
  ) throws(BrokenRule) {
    let isRight =
      switch flags.intersection(.profiles) {
      case .dup, .raid1: count == 2
      case .raid1c3: count == 3
      case .raid1c4: count == 4
      case .raid0: count >= 1
      case .raid5: count >= 2
      case .raid6: count >= 3
      case .raid10: count >= 2 && count % 2 == 0 && subStripes == 2
      default: count == 1
      }
    try require(isRight, "a chunk with the wrong number of stripes for its profile")
  }

  static func checkDevice(_ key: Key, _ data: UnsafeRawBufferPointer) throws(BrokenRule) {
    try require(key.objectID == .devItems, "a device with an impossible object id")
    try require(data.count == DeviceItem.size, "a device item of the wrong size")
    try require(data.u64(0) == key.offset, "a device item with another device's number")
    try require(data.u64(0x10) <= data.u64(8), "a device that uses more than it has")
  }
}

/// Rules of device extents and of the root tree's items.
extension LeafChecker {
  mutating func checkDeviceExtent(
    _ key: Key, _ data: UnsafeRawBufferPointer, _ isFirst: Bool
  ) throws(BrokenRule) {
    try require(data.count == DeviceExtent.size, "a device extent of the wrong size")
    try require(
      data.u64(0) == TreeID.chunk.rawValue && data.u64(8) == ObjectID.firstChunkTree.rawValue,
      "a device extent of an unknown chunk tree")
    let length = data.u64(0x18)
    try require(
      length > 0 && isAligned(key.offset | data.u64(0x10) | length),
      "a device extent that is not aligned")
    let end = key.offset.addingReportingOverflow(length)
    try require(!end.overflow, "a device extent beyond the largest address")
    if !isFirst, previous.type == .devExtent, previous.objectID == key.objectID {
      try require(previousEnd <= key.offset, "device extents that overlap")
    }
    previousEnd = end.partialValue
  }

  func checkRoot(_ key: Key, _ data: UnsafeRawBufferPointer) throws(BrokenRule) {
    let isLegacy = data.count == RootItem.legacySize
    try require(isLegacy || data.count == RootItem.size, "a root item of the wrong size")
    try require(key.objectID != 0, "a root item of no tree")
    try require(
      data.u64(0xa0) <= newestGeneration && data.u64(0xc8) <= newestGeneration
        && (isLegacy || data.u64(0xef) <= newestGeneration),
      "a tree from a future transaction")
    try require(isAligned(data.u64(0xb0)), "a tree whose root is not aligned")
    try require(
      data.u8(0xee) <= Format.maximumLevel && data.u8(0xed) <= Format.maximumLevel,
      "a tree above level 7")
    try require(data.u64(0xd0) & ~(1 | 1 << 48) == 0, "a tree with unknown flags")
  }

  func checkRootReference(_ data: UnsafeRawBufferPointer) throws(BrokenRule) {
    try require(data.count > 18, "a root reference that is too short")
    let nameLength = Int(data.u16(0x10))
    try require(
      data.count == 18 + nameLength && nameLength <= Format.maximumNameLength,
      "a root reference of the wrong size")
  }
}

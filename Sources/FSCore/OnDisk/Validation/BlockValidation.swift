/// Checks the content of a tree block that was read from the device, so that nothing that
/// decodes it later meets numbers that lead out of the block or contradict each other.
///
/// The rules are those that Linux enforces whenever it reads a block, and some that a decoder
/// needs besides. They look at one block alone: what it says about other blocks is found out
/// when those are read. Every block that Linux or mkfs.btrfs writes passes.
package enum BlockValidation {
  /// Throws `.corrupt`, naming block, slot and rule, when `block` breaks a rule.
  ///
  /// The caller has verified checksum, address, fsid, level and generation against what led
  /// to the block. `superGeneration` is that of the last commit: nothing is newer than the
  /// transaction that follows it. Allocates nothing unless it throws.
  package static func check(
    _ block: UnsafeRawBufferPointer, geometry: Geometry, address: LogicalAddress,
    superGeneration: Generation
  ) throws(FilesystemError) {
    guard block.count == Int(geometry.nodeSize) else {
      throw .corrupt("tree block \(address): \(block.count) bytes were read")
    }
    var slot = -1
    do throws(BrokenRule) {
      let flags = block.u64(BlockHeader.Offset.flags)
      try require(flags & 1 != 0, "the header's WRITTEN flag is not set")
      if block.u8(BlockHeader.Offset.level) == 0 {
        var checker = LeafChecker(block, geometry, superGeneration)
        try checker.check(&slot)
      } else {
        try checkNode(block, geometry, &slot)
      }
    } catch {
      throw failure(error, block, address, slot)
    }
  }

  /// The items of a leaf that break rules of their own, by their slots. Throws when the leaf as a whole
  /// breaks one, so that items cannot be told apart.
  static func damagedItems(
    _ block: UnsafeRawBufferPointer, geometry: Geometry, address: LogicalAddress,
    superGeneration: Generation
  ) throws(FilesystemError) -> [Int: StaticString] {
    guard block.count == Int(geometry.nodeSize), block.u8(BlockHeader.Offset.level) == 0 else {
      throw .corrupt("tree block \(address) is no leaf")
    }
    var slot = -1
    var damaged: [Int: StaticString] = [:]
    do throws(BrokenRule) {
      var checker = LeafChecker(block, geometry, superGeneration)
      try checker.check(&slot) { damaged[$0] = $1 }
    } catch {
      throw failure(error, block, address, slot)
    }
    return damaged
  }

  private static func checkNode(
    _ block: UnsafeRawBufferPointer, _ geometry: Geometry, _ slot: inout Int
  ) throws(BrokenRule) {
    let level = block.u8(BlockHeader.Offset.level)
    try require(level <= Format.maximumLevel, "the level is above 7")

    let count = Int(block.u32(BlockHeader.Offset.itemCount))
    let capacity = (block.count - Format.headerSize) / Format.keyPointerSize
    try require(count >= 1 && count <= capacity, "an impossible number of key pointers")

    let sectorMask = geometry.sectorSize - 1
    var previous = Key.zero
    for index in 0..<count {
      slot = index
      let at = Format.headerSize + index * Format.keyPointerSize
      let key = Key(block, at: at)
      try require(index == 0 || previous < key, "keys out of order")
      previous = key

      let child = block.u64(at + Key.size)
      try require(child != 0 && child & sectorMask == 0, "a child's address is not aligned")
    }
  }

  @inline(never)
  private static func failure(
    _ rule: BrokenRule, _ block: UnsafeRawBufferPointer, _ address: LogicalAddress, _ slot: Int
  ) -> FilesystemError {
    let owner = Int64(bitPattern: block.u64(BlockHeader.Offset.owner))
    var place = "tree block \(address) (tree \(owner))"
    let isLeaf = block.u8(BlockHeader.Offset.level) == 0
    let stride = isLeaf ? Format.itemHeaderSize : Format.keyPointerSize
    let at = Format.headerSize + max(slot, 0) * stride
    if slot >= 0, at + Key.size <= block.count {
      place += " slot \(slot), key \(Key(block, at: at))"
    }
    return .corrupt("\(place): \(rule.text)")
  }
}

/// A rule of the format that a block does not keep.
struct BrokenRule: Error {
  let text: StaticString
}

@inline(__always)
func require(_ condition: Bool, _ text: StaticString) throws(BrokenRule) {
  if !condition { throw BrokenRule(text: text) }
}

/// A walk down a tree, block after block from the device, past the cache.
///
/// 1. Memory is bounded whatever the image says: one block for each level of a tree.
/// 2. It ends: no block has two parents whose bounds it satisfies.
package struct BlockWalk {
  let blocks: BlockReader
  /// The last transaction of the image.
  let newest: Generation
  /// Where damage is noted, and left out then; without, damage is an error.
  let remarks: Remarks?

  private func leaveOut(
    _ error: FilesystemError, _ remark: @autoclosure () -> String
  ) throws(FilesystemError) {
    guard let remarks else { throw error }
    remarks.add(remark())
  }

  /// Calls `visit` for each item from `from` through `through`, in key order, until it returns
  /// false. Damaged blocks below the root, and
  /// damaged items, are left out or end the walk, as `remarks` says.
  package func walk(
    _ root: BlockPointer, from: Key = .zero, through: Key = .maximum,
    _ visit: (Key, RawSpan) throws(FilesystemError) -> Bool
  ) throws(FilesystemError) {
    try walkBlocks(root, from: from, through: through) {
      (pointer, leaf) throws(FilesystemError) in
      guard pointer.level == 0 else { return true }
      return try forEachItem(of: leaf) { (key, bytes) throws(FilesystemError) in
        if key < from { return true }
        if key > through { return false }
        do throws(FilesystemError) {
          return try visit(key, bytes)
        } catch .corrupt(let rule) {
          try leaveOut(.corrupt(rule), "item \(key): \(rule)")
          return true
        }
      }
    }
  }

  /// As `walk`, but of a leaf in which items break rules the other items are visited as well. A damaged
  /// one is given with the rule that it breaks: nothing in its bytes is to be relied on.
  package func walkItemByItem(
    _ root: BlockPointer, from: Key = .zero, through: Key = .maximum,
    _ visit: (Key, RawSpan, StaticString?) throws(FilesystemError) -> Bool
  ) throws(FilesystemError) {
    let block = AlignedBuffer(count: blocks.geometry.nodeBytes)
    let bounds = KeyBounds(first: nil, end: nil)
    let damaged = try read(root, bounds, into: block, itemByItem: true)
    _ = try descend(root, block, damaged, bounds, from: from, through: through, itemByItem: true) {
      (pointer, leaf, damaged) throws(FilesystemError) in
      guard pointer.level == 0 else { return true }
      var slot = -1
      return try forEachItem(of: leaf) { (key, bytes) throws(FilesystemError) in
        slot += 1
        if key < from { return true }
        if key > through { return false }
        return try visit(key, bytes, damaged[slot])
      }
    }
  }

  /// Calls `visit` for each item of a leaf that was walked to, until it returns false, which is
  /// then returned.
  package func forEachItem(
    of leaf: UnsafeRawBufferPointer,
    _ visit: (Key, RawSpan) throws(FilesystemError) -> Bool
  ) throws(FilesystemError) -> Bool {
    let count = Int(leaf.u32(BlockHeader.Offset.itemCount))
    for slot in 0..<count {
      let at = Format.headerSize + slot * Format.itemHeaderSize
      let start = Format.headerSize + Int(leaf.u32(at + 0x11))
      let data = leaf.part(start, Int(leaf.u32(at + 0x15)))
      if try !visit(Key(leaf, at: at), data.bytes) { return false }
    }
    return true
  }

  /// Calls `visit` for each node and leaf that may hold keys of the range, a node before its
  /// children, until it returns false.
  package func walkBlocks(
    _ root: BlockPointer, from: Key = .zero, through: Key = .maximum,
    _ visit: (BlockPointer, UnsafeRawBufferPointer) throws(FilesystemError) -> Bool
  ) throws(FilesystemError) {
    let bounds = KeyBounds(first: nil, end: nil)
    let block = AlignedBuffer(count: blocks.geometry.nodeBytes)
    let damaged = try read(root, bounds, into: block, itemByItem: false)
    _ = try descend(root, block, damaged, bounds, from: from, through: through, itemByItem: false) {
      (pointer, block, _) throws(FilesystemError) in try visit(pointer, block)
    }
  }

  /// What the parent says about the keys of a block. Holding each block against it also
  /// keeps a walk finite: no block has two parents whose bounds it satisfies.
  private struct KeyBounds {
    var first: Key?
    /// The next sibling's first key.
    var end: Key?
  }

  /// Returns false when the walk is over.
  ///
  /// - Parameters:
  ///   - damaged: the slots of items that break rules, and which.
  ///   - itemByItem: whether leaves may have such items.
  private func descend(
    _ pointer: BlockPointer, _ buffer: AlignedBuffer, _ damaged: [Int: StaticString],
    _ bounds: KeyBounds, from: Key, through: Key, itemByItem: Bool,
    _ visit: (BlockPointer, UnsafeRawBufferPointer, [Int: StaticString]) throws(FilesystemError)
      -> Bool
  ) throws(FilesystemError) -> Bool {
    let block = buffer.readable
    guard try visit(pointer, block, damaged) else { return false }
    if pointer.level == 0 { return true }

    // One buffer serves all children: a child is done with before its sibling is read.
    let childBlock = AlignedBuffer(count: blocks.geometry.nodeBytes)
    let count = Int(block.u32(BlockHeader.Offset.itemCount))
    for slot in 0..<count {
      let at = Format.headerSize + slot * Format.keyPointerSize
      let key = Key(block, at: at)
      if key > through { return false }
      let isLast = slot + 1 == count
      let end = isLast ? bounds.end : Key(block, at: at + Format.keyPointerSize)
      if let end, end <= from { continue }

      let child = BlockPointer(
        tree: pointer.tree, address: LogicalAddress(block.u64(at + Key.size)),
        level: pointer.level - 1, generation: Generation(block.u64(at + Key.size + 8)))
      let childBounds = KeyBounds(first: key, end: end)
      let damaged: [Int: StaticString]
      do throws(FilesystemError) {
        damaged = try read(child, childBounds, into: childBlock, itemByItem: itemByItem)
      } catch {
        try leaveOut(error, "\(error)")
        continue
      }
      let goesOn = try descend(
        child, childBlock, damaged, childBounds, from: from, through: through,
        itemByItem: itemByItem, visit)
      if !goesOn { return false }
    }
    return true
  }

  /// Reads a block; returns the slots of damaged items, where single ones may be.
  private func read(
    _ pointer: BlockPointer, _ bounds: KeyBounds, into buffer: AlignedBuffer, itemByItem: Bool
  ) throws(FilesystemError) -> [Int: StaticString] {
    let reference = BlockReference(
      address: pointer.address, generation: pointer.generation, level: pointer.level,
      tree: pointer.tree, firstKey: bounds.first)
    do throws(FilesystemError) {
      try readWhole(reference, pointer, bounds, into: buffer)
      return [:]
    } catch {
      guard case .corrupt = error, itemByItem, pointer.level == 0 else { throw error }
    }
    return try blocks.readSparing(
      reference, newest: newest, into: buffer.bytes
    ) { (block) throws(FilesystemError) in
      try check(block, pointer, bounds)
    }
  }

  /// Reads a block, from the first copy that is good, and notes those before it.
  private func readWhole(
    _ reference: BlockReference, _ pointer: BlockPointer, _ bounds: KeyBounds,
    into buffer: AlignedBuffer
  ) throws(FilesystemError) {
    let bad = try blocks.read(
      reference, newest: newest, into: buffer.bytes
    ) { (block) throws(FilesystemError) in
      try check(block, pointer, bounds)
    }
    guard let remarks, !bad.isEmpty else { return }
    let copies = try blocks.mirrors.device.copies(at: pointer.address)
    for copy in bad {
      remarks.add("\(copy.error) (copy \(copy.mirror + 1) of \(copies); another one is good)")
    }
  }

  private func check(
    _ block: UnsafeRawBufferPointer, _ pointer: BlockPointer, _ bounds: KeyBounds
  ) throws(FilesystemError) {
    let count = Int(block.u32(BlockHeader.Offset.itemCount))
    guard count > 0, let end = bounds.end else { return }
    let stride = pointer.level == 0 ? Format.itemHeaderSize : Format.keyPointerSize
    guard Key(block, at: Format.headerSize + (count - 1) * stride) < end else {
      throw .corrupt("tree block \(pointer.address): its keys reach into its sibling's")
    }
  }
}

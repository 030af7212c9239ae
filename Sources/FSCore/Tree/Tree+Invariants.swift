extension Tree {
  /// Throws when the tree is not what its comment promises; returns how many blocks it has. For
  /// tests: it reads the whole tree, and nobody may change it meanwhile.
  @discardableResult
  package func checkInvariants() throws(FilesystemError) -> Int {
    var count = 0
    var last: Key?
    try check(root, isRoot: true, parentIsWritable: true, &count, &last)
    return count
  }

  /// Checks a block and all below it. `last` is the last key before it.
  private func check(
    _ block: TreeBlock, isRoot: Bool, parentIsWritable: Bool, _ count: inout Int,
    _ last: inout Key?
  ) throws(FilesystemError) {
    count += 1
    try checkAlone(block, isRoot: isRoot, parentIsWritable: parentIsWritable)
    for slot in 0..<block.count {
      if block.isLeaf {
        let key = block.key(slot)
        guard last.map({ $0 < key }) ?? true else {
          throw broken(block, "key \(key) is out of order")
        }
        last = key
      } else {
        // What the pointer says of the child is checked here.
        let child = try context.cache.load(childReference(block, slot))
        try check(
          child, isRoot: false, parentIsWritable: block.isWritable, &count, &last)
      }
    }
  }

  /// Checks a block by itself.
  private func checkAlone(
    _ block: TreeBlock, isRoot: Bool, parentIsWritable: Bool
  ) throws(FilesystemError) {
    try BlockValidation.check(
      block.buffer.readable, geometry: context.geometry, address: block.address,
      superGeneration: block.generation)
    guard isRoot || block.count > 0 else { throw broken(block, "it is empty") }
    guard !block.isWritable || parentIsWritable else {
      throw broken(block, "it is writable, its parent is not")
    }
    guard !block.isWritable || block.isDirty else {
      throw broken(block, "it is writable and not to be written")
    }
    guard
      block.isDirty || block.isBeingWritten || block.generation <= context.cache.newestOnDevice
    else { throw broken(block, "it is not on the device, nor to be written") }
  }

  private func broken(_ block: TreeBlock, _ what: String) -> FilesystemError {
    .corrupt("tree \(id), block \(block.address): \(what)")
  }

  /// What does not hold of one path from the root down, as far as it is in memory; others at each
  /// turn, and where there is a choice blocks of the running transaction. Nobody changes the tree
  /// meanwhile.
  func brokenInvariant(turn: UInt64) -> String? {
    lock.shared {
      do throws(FilesystemError) {
        try checkPath(turn)
        return nil
      } catch {
        return "\(error)"
      }
    }
  }

  private func checkPath(_ turn: UInt64) throws(FilesystemError) {
    var block = root
    var parentIsWritable = true
    // The key with which the next block begins.
    var end: Key?
    while true {
      try checkAlone(block, isRoot: block === root, parentIsWritable: parentIsWritable)
      guard block.count > 0 else { return }
      if let end, block.key(block.count - 1) >= end {
        throw broken(block, "it has keys of the next block")
      }
      guard !block.isLeaf, let slot = slotToCheck(of: block, turn) else { return }
      let reference = childReference(block, slot)
      guard let child = context.cache.anyBlock(at: reference.address) else { return }
      try context.cache.check(child, reference)
      parentIsWritable = block.isWritable
      if slot + 1 < block.count { end = block.key(slot + 1) }
      block = child
    }
  }

  private func slotToCheck(of block: TreeBlock, _ turn: UInt64) -> Int? {
    var cached: Int?
    for step in 0..<block.count {
      let slot = (Int(turn % UInt64(block.count)) + step) % block.count
      guard let child = context.cache.anyBlock(at: block.child(slot).address) else { continue }
      if child.isWritable { return slot }
      cached = cached ?? slot
    }
    return cached
  }
}

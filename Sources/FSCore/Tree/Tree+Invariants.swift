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
    func require(_ isRight: Bool, _ what: String) throws(FilesystemError) {
      if !isRight { throw .corrupt("tree \(id), block \(block.address): \(what)") }
    }
    count += 1
    try BlockValidation.check(
      block.buffer.readable, geometry: context.geometry, address: block.address,
      superGeneration: block.generation)
    try require(isRoot || block.count > 0, "it is empty")
    try require(!block.isWritable || parentIsWritable, "it is writable, its parent is not")
    try require(!block.isWritable || block.isDirty, "it is writable and not to be written")
    try require(
      block.isDirty || block.generation <= context.cache.newestOnDevice,
      "it is not on the device, nor to be written")
    for slot in 0..<block.count {
      if block.isLeaf {
        let key = block.key(slot)
        try require(last.map { $0 < key } ?? true, "key \(key) is out of order")
        last = key
      } else {
        // What the pointer says of the child is checked here.
        let child = try context.cache.load(childReference(block, slot))
        try check(
          child, isRoot: false, parentIsWritable: block.isWritable, &count, &last)
      }
    }
  }
}

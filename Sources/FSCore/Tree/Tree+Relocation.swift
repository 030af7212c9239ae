/// Moving blocks and what leaves refer to, without a change of what the tree says. Each holds the
/// tree's lock exclusive.
extension Tree {
  /// Copies the block at `address`, and all above it that older transactions wrote, when the path to
  /// `key` has it at `level`. Says whether it has. The copy stands elsewhere, the block has one
  /// reference fewer.
  package func moveBlock(
    at address: LogicalAddress, level: UInt8, key: Key, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    let level = Int(level)
    while true {
      let attempt = try lock.exclusive { () throws(FilesystemError) -> Attempt<Bool> in
        var path = TreePath()
        guard Int(root.level) >= level else { return .done(false) }
        while let missing = try descend(to: key, downTo: level, &path) {
          guard readsUnderLock else { return .missing(missing) }
          _ = try context.cache.load(missing)
        }
        guard path.block(level).address == address else { return .done(false) }
        try makeWritable(&path, downTo: level, isMove: true, in: handle)
        return .done(true)
      }
      if case .done(let isFound) = attempt { return isFound }
      _ = try hasBlock(at: address, level: UInt8(level), key: key)
    }
  }

  /// Whether the path to `key` has the block at `address` at `level`. Reads the path.
  package func hasBlock(
    at address: LogicalAddress, level: UInt8, key: Key
  ) throws(FilesystemError) -> Bool {
    try reading { () throws(FilesystemError) -> Attempt<Bool> in
      var path = TreePath()
      guard root.level >= level else { return .done(false) }
      if let missing = try descend(to: key, downTo: Int(level), &path) { return .missing(missing) }
      return .done(path.block(Int(level)).address == address)
    }
  }

  /// Whether no other tree has any block of the path to `key`, as far as the blocks themselves show
  /// it; false may be wrong.
  package func isPathUnshared(
    to key: Key, downTo level: UInt8 = 0
  ) throws(FilesystemError) -> Bool {
    guard id.kind.isShareable else { return true }
    return try reading { () throws(FilesystemError) -> Attempt<Bool> in
      var path = TreePath()
      let level = Int(min(level, root.level))
      if let missing = try descend(to: key, downTo: level, &path) { return .missing(missing) }
      for index in level..<max(path.rootLevel, level) {
        let block = path.block(index)
        if block.generation <= lastSnapshot || block.isRelocated { return .done(false) }
      }
      return .done(true)
    }
  }

  /// The leaf in which `key` is or would be: where it stands, and its first key; nil for an empty one.
  package func leaf(
    of key: Key
  ) throws(FilesystemError) -> (address: LogicalAddress, firstKey: Key)? {
    try reading { () throws(FilesystemError) in
      var path = TreePath()
      if let missing = try descend(to: key, downTo: 0, &path) { return .missing(missing) }
      return .done(path.leaf.count == 0 ? nil : (path.leaf.address, path.leaf.firstKey))
    }
  }

  /// As `modify`, for a change that readers of the tree do not see: the subvolume counts as
  /// unchanged.
  package func modifyUnseen<R>(
    _ key: Key, in handle: borrowing TransactionHandle,
    _ body: (UnsafeMutableRawBufferPointer) throws(FilesystemError) -> R
  ) throws(FilesystemError) -> R? {
    try changing(key) { (path) throws(FilesystemError) -> R? in
      guard path.isExact else { return nil }
      try makeWritable(&path, isMove: true, in: handle)
      return try body(path.leaf.mutableItem(path.slot))
    }
  }

  /// As `descend(to:_:)`, but ends at `level`, which the root has or is above.
  func descend(
    to key: Key, downTo level: Int, _ path: inout TreePath
  ) throws(FilesystemError) -> BlockReference? {
    var block = root
    path.rootLevel = Int(block.level)
    while Int(block.level) > level {
      let slot = block.childSlot(for: key)
      path.set(block, slot)
      let reference = childReference(block, slot)
      guard let child = try context.cache.cached(reference) else { return reference }
      block = child
    }
    path.set(block, 0)
    return nil
  }
}

extension TreeBlock {
  /// Linux marks the blocks that a balance of its has made: they may be shared whatever their
  /// generation is.
  var isRelocated: Bool { flags & 2 != 0 }
}

extension TreeBlockCache {
  /// The block that stands at an address, whatever leads to it: from memory, or else the first good
  /// copy on the device, which is not kept. Throws when none there is a tree block.
  func block(at address: LogicalAddress) throws(FilesystemError) -> TreeBlock {
    if let block = anyBlock(at: address) { return block }
    let buffer = AlignedBuffer(count: geometry.nodeBytes)
    let newest = newestOnDevice
    try reuse.reading { () throws(FilesystemError) in
      _ = try quietReader.mirrors.read(into: buffer.bytes, at: address, of: { "" }) {
        (block) throws(FilesystemError) in
        let header = BlockHeader(block.bytes)
        guard geometry.checksumType.isSealed(block), header.fsid == geometry.fsid,
          header.address == address
        else { throw .checksum(what: "tree block", address: address.rawValue) }
        try BlockValidation.check(
          block, geometry: geometry, address: address, superGeneration: newest)
      }
    }
    return TreeBlock(adopting: buffer)
  }
}

/// Moves a block that several trees share, so that they share the copy.
///
/// All blocks above it go with it, in all trees: the block and they are replaced by copies at other
/// addresses, and everything else stays as it is. A copy has the owner, the flags and as many
/// references as its original; where a reference names the address of a block that has moved, it
/// names the new one. So what held of the trees before holds afterwards.
///
/// 1. All trees that have the block are locked exclusively, by ascending number, and the references
///    are locked. So what is found holds until it is changed.
/// 2. Nothing is changed unless the trees found are all there are: each block of the paths has as many
///    references as there are parents and roots of these trees that lead to it.
/// 3. Copies that several trees have are not writable: a change through one tree copies them first.
///    The trees' `lastSnapshot` becomes the running transaction, so that whoever changes such a
///    block later, Linux too, looks for its other references.
/// 4. A copy that this made in the running transaction (`isMovedTogether`) is not copied again.
struct SharedPath {
  /// A block of the paths.
  private final class Node {
    let block: TreeBlock
    /// What stands in its place afterwards; itself where it need not be copied.
    var copy: TreeBlock
    /// Those that lead to it, each with the slot.
    var parents: [(node: Node, slot: Int)] = []
    /// Trees of which it is the root.
    var roots: [Tree] = []
    /// How many trees have it.
    var treeCount = 0
    var isFull = false

    init(_ block: TreeBlock) {
      self.block = block
      copy = block
    }

    /// Whether it may be changed where it stands.
    var isFresh: Bool { block.isWritable || block.isMovedTogether }

    /// How the pointers of this block refer to its children.
    func identity(_ block: TreeBlock) -> ReferenceIdentity {
      isFull ? .sharedBlock(parent: block.address) : .treeBlock(root: block.owner)
    }
  }

  enum Outcome {
    case moved
    /// The trees have changed since they were looked at, or a block is not in memory any more.
    case changed
    /// Some other tree has a block of the paths.
    case incomplete
  }

  let context: TreeContext
  let references: any ExtentReferences
  let allocator: any TreeBlockAllocator

  init(_ context: TreeContext) throws(FilesystemError) {
    guard let references = context.references, let allocator = context.allocator else {
      throw .readOnly("the file system is not open for writing")
    }
    self.context = context
    self.references = references
    self.allocator = allocator
  }

  /// Moves the block at `address`, to which `key` leads at `level` in each of `trees`.
  ///
  /// - Parameter change: changes the copy of the block, or the block itself where the running
  ///   transaction has made it; told whether references of what is in it name the block.
  func move(
    _ address: LogicalAddress, level: UInt8, key: Key, in trees: [Tree],
    by handle: borrowing TransactionHandle,
    _ change: (TreeBlock, _ isFull: Bool) throws(FilesystemError) -> Void = {
      (_, _) throws(FilesystemError) in
    }
  ) throws(FilesystemError) -> Outcome {
    let ascending = trees.sorted { $0.id < $1.id }
    let locks = ascending.map { ($0.lock, order: InodeID(tree: $0.id, number: 0)) }
    return try ReadWriteLock.exclusively(locks) { () throws(FilesystemError) -> Outcome in
      guard let levels = try nodes(address, Int(level), key, ascending) else { return .changed }
      return try references.withReferencesLocked { () throws(FilesystemError) -> Outcome in
        guard try areAll(levels) else { return .incomplete }
        handle.noteChange()
        for tree in ascending { tree.noteAnyChange() }
        for nodes in levels.reversed() {
          for node in nodes { try replace(node, in: handle) }
        }
        for tree in ascending { tree.noteSharing(in: handle.generation) }
        let target = levels[Int(level)][0]
        try change(target.copy, target.isFull)
        return .moved
      }
    }
  }

  /// The blocks of all paths by level, those below `level` left out. Nil when one is not in memory, or
  /// leads elsewhere.
  private func nodes(
    _ address: LogicalAddress, _ level: Int, _ key: Key, _ trees: [Tree]
  ) throws(FilesystemError) -> [[Node]]? {
    var levels = [[Node]](repeating: [], count: Int(Format.maximumLevel) + 1)
    var known: [LogicalAddress: Node] = [:]
    for tree in trees {
      var path = TreePath()
      guard Int(tree.root.level) >= level,
        try tree.descend(to: key, downTo: level, &path) == nil,
        path.block(level).address == address
      else { return nil }
      var above: Node?
      for index in stride(from: path.rootLevel, through: level, by: -1) {
        let block = path.block(index)
        let node = known[block.address] ?? Node(block)
        if known.updateValue(node, forKey: block.address) == nil { levels[index].append(node) }
        node.treeCount += 1
        if let above {
          if !node.parents.contains(where: { $0.node === above }) {
            node.parents.append((above, path.slots[index + 1]))
          }
        } else {
          node.roots.append(tree)
        }
        above = node
      }
    }
    return levels
  }

  /// Whether no other tree has any of the blocks. Finds out how what is in them is counted.
  private func areAll(_ levels: [[Node]]) throws(FilesystemError) -> Bool {
    for nodes in levels {
      for node in nodes where !node.block.isWritable {
        let state = try references.state(
          of: node.block.address, .treeBlock(level: node.block.level))
        node.isFull = state.fullBackref
        guard state.references == UInt64(node.parents.count + node.roots.count) else {
          return false
        }
      }
    }
    // Two references of one name there cannot be.
    for nodes in levels {
      for node in nodes {
        let names =
          node.parents.map { $0.node.identity($0.node.block) }
          + node.roots.map { .treeBlock(root: $0.id) }
        if Set(names).count != names.count { return false }
      }
    }
    return true
  }

  /// Puts a copy in a node's place; the nodes above have theirs.
  private func replace(_ node: Node, in handle: borrowing TransactionHandle) throws(FilesystemError)
  {
    guard !node.isFresh else { return }
    let block = node.block
    let copy = try copy(of: block, in: handle)
    node.copy = copy

    var isNew = true
    for tree in node.roots {
      take(.treeBlock(root: tree.id), of: block, for: copy, isNew, in: handle)
      isNew = false
      tree.root = copy
    }
    for (parent, slot) in node.parents {
      // A parent that has moved has taken the references that name it with it.
      let target = parent.copy
      take(parent.identity(target), of: block, for: copy, isNew, in: handle)
      isNew = false
      target.setChild(
        slot,
        KeyPointer(key: target.key(slot), address: copy.address, generation: copy.generation))
    }
    if node.isFull {
      references.setFullBackref(copy.address, level: block.level, in: handle)
      try moveContent(of: block, to: copy, in: handle)
    }

    let belongsToOne =
      node.treeCount == 1 && !node.isFull
      && node.parents.allSatisfy { $0.node.copy.isWritable }
    if !belongsToOne {
      copy.isWritable = false
      copy.isMovedTogether = true
    }
  }

  /// Lets `copy` have a reference of `block`.
  private func take(
    _ identity: ReferenceIdentity, of block: TreeBlock, for copy: TreeBlock, _ isNew: Bool,
    in handle: borrowing TransactionHandle
  ) {
    let kind = ExtentKind.treeBlock(level: block.level)
    references.add(copy.address, kind, identity, count: 1, newExtent: isNew, in: handle)
    references.add(block.address, kind, identity, count: -1, newExtent: false, in: handle)
  }

  private func copy(
    of block: TreeBlock, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> TreeBlock {
    let geometry = context.geometry
    let address = try allocator.allocateTreeBlock(
      for: block.owner, level: block.level, in: handle)
    let buffer = AlignedBuffer(count: geometry.nodeBytes)
    buffer.bytes.part(0, Format.headerSize).zero()
    block.copyContent(to: buffer.bytes)
    var header = BlockHeader(
      fsid: geometry.fsid, address: address, chunkTreeUUID: geometry.chunkTreeUUID,
      generation: handle.generation, owner: block.owner, level: block.level)
    header.flags = block.flags
    header.encode(into: buffer.bytes)
    let copy = TreeBlock(adopting: buffer)
    copy.count = block.count
    context.cache.insertNew(copy)
    return copy
  }

  /// References that name a block as the parent name its copy from now on, also those of blocks that
  /// move afterwards.
  private func moveContent(
    of block: TreeBlock, to copy: TreeBlock, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    for slot in 0..<block.count {
      if !block.isLeaf {
        let kind = ExtentKind.treeBlock(level: block.level - 1)
        let child = block.child(slot).address
        references.add(
          child, kind, .sharedBlock(parent: copy.address), count: 1, newExtent: false, in: handle)
        references.add(
          child, kind, .sharedBlock(parent: block.address), count: -1, newExtent: false,
          in: handle)
        continue
      }
      guard block.key(slot).type == .extentData else { continue }
      let item = try FileExtentItem(block.item(slot).bytes)
      guard item.hasExtent else { continue }
      let kind = ExtentKind.data(length: item.diskLength)
      references.add(
        item.diskAddress, kind, .sharedData(parent: copy.address), count: 1, newExtent: false,
        in: handle)
      references.add(
        item.diskAddress, kind, .sharedData(parent: block.address), count: -1, newExtent: false,
        in: handle)
    }
  }
}

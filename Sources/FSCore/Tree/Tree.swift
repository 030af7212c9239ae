import Synchronization

/// What all trees of a volume share.
package final class TreeContext: @unchecked Sendable {
  let cache: TreeBlockCache
  var geometry: Geometry { cache.geometry }

  /// Set once when the volume is put together, before the first change.
  package weak var allocator: (any TreeBlockAllocator)?
  package weak var references: (any ExtentReferences)?

  /// Trees whose root block is not the one that their root item leads to, or was not for a while.
  let movedRoots = Guarded<Set<TreeID>>([], rank: .leaf)

  package init(cache: TreeBlockCache) { self.cache = cache }
}

/// One b-tree of items. Lock rank: `tree`, of the extent tree `extentTree`.
///
/// 1. A block that is not writable is never changed: a change copies the whole path from the root,
///    once a transaction. The parent of a writable block is writable.
/// 2. The key of every pointer equals the first key of its child, and its generation the
///    child's.
/// 3. No block but the root is empty.
/// 4. A change is made under the exclusive lock in one go: the path is found first, without
///    changing anything, then copied, then changed. Only then may an error abort the volume.
/// 5. No device IO happens under the lock, except of the extent tree, which is read under other
///    trees' locks: a search that meets a block that is not in memory lets go of the lock, reads
///    the block, and begins anew.
///
/// One lock a tree, not one a block: changes take a few microseconds, all in memory, and a
/// request spends more than that in FUSE; what would profit, IO in parallel, is outside the lock.
package final class Tree: @unchecked Sendable {
  package let id: TreeID
  let context: TreeContext
  let lock: ReadWriteLock

  /// Guarded by `lock`, as is all that follows, so the runtime need not check each access.
  @exclusivity(unchecked) var root: TreeBlock {
    didSet {
      noteAnyChange()
      context.movedRoots.withLock { _ = $0.insert(id) }
    }
  }

  /// The transaction of the last snapshot, or the last in which blocks moved that several trees share:
  /// blocks of later generations are not shared. Any thread may ask.
  package var lastSnapshot: Generation { Generation(snapshot.load(ordering: .relaxed)) }
  private let snapshot: Atomic<UInt64>
  /// The transaction of the last snapshot. Items of later transactions are in no other tree: what
  /// a move of shared blocks raises `lastSnapshot` for is in leaves that are older. So space that a
  /// write may be made to in place stays so while it is buffered, unless a snapshot is taken, which
  /// has that written first (`InPlaceGate`). Any thread may ask.
  package var itemsSharedThrough: Generation { Generation(snapshotItems.load(ordering: .relaxed)) }
  private let snapshotItems: Atomic<UInt64>

  /// Blocks added less blocks removed since the tree was opened.
  var blockDelta = 0

  /// The last transaction that changed what the tree says, since it was opened; 0 for none.
  @exclusivity(unchecked) private(set) var contentChange: Generation = 0

  /// Counts changes, those of where blocks stand and what is moved included, and the end of a deleted
  /// tree. What a thread has found in the tree still holds while the number is what it was before the
  /// thread looked.
  package var changeCount: UInt64 { changes.load(ordering: .acquiring) }
  private let changes = Atomic<UInt64>(0)

  /// The tree is about to change. The lock is held exclusively.
  @inline(__always)
  func noteAnyChange() { changes.add(1, ordering: .releasing) }

  var readsUnderLock: Bool { id == .extent }

  private let doomed = Atomic<Bool>(false)

  /// Whether its subvolume was deleted. Then only `TreeDropper` deals with it, by blocks that it keeps
  /// in hand: nobody else may move any. Exact while a handle is open.
  package var isDoomed: Bool { doomed.load(ordering: .acquiring) }

  func doom() { doomed.store(true, ordering: .releasing) }

  /// Opens a tree by what its root item or the superblock says of its root block.
  package init(
    id: TreeID, address: LogicalAddress, level: UInt8, generation: Generation,
    lastSnapshot: Generation, context: TreeContext
  ) throws(FilesystemError) {
    self.id = id
    self.context = context
    snapshot = Atomic(lastSnapshot.rawValue)
    snapshotItems = Atomic(lastSnapshot.rawValue)
    lock = ReadWriteLock(rank: id == .extent ? .extentTree : .tree)
    root = try context.cache.load(
      BlockReference(
        address: address, generation: generation, level: level, tree: id, firstKey: nil))
  }

  /// A new tree with one empty leaf, which is the running transaction's. Nobody can find it until
  /// it has a root item.
  init(
    creating id: TreeID, context: TreeContext, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    self.id = id
    self.context = context
    snapshot = Atomic(0)
    snapshotItems = Atomic(0)
    lock = ReadWriteLock(rank: id == .extent ? .extentTree : .tree)
    root = TreeBlock(adopting: AlignedBuffer(zeroed: context.geometry.nodeBytes))
    root = try makeBlock(level: 0, in: handle)
  }

  /// A new tree that says what `source` says, as a snapshot of it in the running transaction
  /// (format §9.6): the root block is copied, and whatever that refers to has one reference more.
  /// Nobody can find it until it has a root item. The lock of `source` is held exclusively.
  init(
    snapshot id: TreeID, of source: Tree, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    self.id = id
    context = source.context
    snapshot = Atomic(handle.generation.rawValue)
    snapshotItems = Atomic(handle.generation.rawValue)
    lock = ReadWriteLock(rank: .tree)
    root = TreeBlock(adopting: AlignedBuffer(zeroed: context.geometry.nodeBytes))
    root = try makeBlock(level: source.root.level, content: source.root, in: handle)
    try addContentReferences(of: root, .tree(id), count: 1, in: handle)
  }

  /// Where the root block is now, and how many blocks the tree has gained since it was opened.
  package var rootState:
    (address: LogicalAddress, level: UInt8, generation: Generation, blockDelta: Int)
  {
    lock.shared { (root.address, root.level, root.generation, blockDelta) }
  }

  /// Blocks of the running transaction may be shared with other trees. The lock is held exclusively,
  /// and the root block is the transaction's, so that the root item will say so, too.
  func noteSharing(in generation: Generation) {
    snapshot.store(generation.rawValue, ordering: .relaxed)
  }

  /// A snapshot was taken of the tree in this transaction. As for `noteSharing`.
  func noteSnapshot(in generation: Generation) {
    noteSharing(in: generation)
    snapshotItems.store(generation.rawValue, ordering: .relaxed)
  }

  /// The last transaction since the tree was opened that changed more than where its blocks stand.
  var lastContentChange: Generation { lock.shared { contentChange } }

  /// The lock is held exclusively.
  @inline(__always)
  func noteContentChange(_ generation: Generation) { contentChange = generation }

  // Searching.

  enum Attempt<R> {
    case done(R)
    case missing(BlockReference)
  }

  /// Runs `attempt` under the shared lock until no block is missing.
  func reading<R>(
    _ attempt: () throws(FilesystemError) -> Attempt<R>
  ) throws(FilesystemError) -> R {
    if readsUnderLock {
      return try lock.shared { () throws(FilesystemError) in
        while true {
          switch try attempt() {
          case .done(let result): return result
          case .missing(let reference): _ = try context.cache.load(reference)
          }
        }
      }
    }

    if case .done(let result) = try lock.shared(attempt) { return result }

    return try context.cache.reuse.reading { () throws(FilesystemError) in
      // Held so that a small cache does not drop the one block while the next is read.
      var held: [TreeBlock] = []
      while true {
        switch try lock.shared(attempt) {
        case .done(let result): return result
        case .missing(let reference): held.append(try context.cache.load(reference))
        }
      }
    }
  }

  /// Runs `change` with the path to `key` under the exclusive lock, all of its blocks in memory.
  func changing<R>(
    _ key: Key, _ change: (inout TreePath) throws(FilesystemError) -> R
  ) throws(FilesystemError) -> R {
    while true {
      let attempt = try lock.exclusive { () throws(FilesystemError) -> Attempt<R> in
        var path = TreePath()
        while let missing = try descend(to: key, &path) {
          guard readsUnderLock else { return .missing(missing) }
          _ = try context.cache.load(missing)
        }
        return .done(try change(&path))
      }
      if case .done(let result) = attempt { return result }

      // All of the path is read before the next try.
      try reading { () throws(FilesystemError) -> Attempt<Void> in
        var path = TreePath()
        if let missing = try descend(to: key, &path) { return .missing(missing) }
        return .done(())
      }
    }
  }

  /// Finds the leaf in which `key` is or would be. Returns the first block on the way that is
  /// not in memory; nil when the path is complete.
  func descend(to key: Key, _ path: inout TreePath) throws(FilesystemError) -> BlockReference? {
    var block = root
    path.rootLevel = Int(block.level)
    while !block.isLeaf {
      let slot = block.childSlot(for: key)
      path.set(block, slot)
      let reference = childReference(block, slot)
      guard let child = try context.cache.cached(reference) else { return reference }
      block = child
    }
    let (slot, isExact) = block.lowerBound(key)
    path.set(block, slot)
    path.isExact = isExact
    return nil
  }

  /// As `descend`, for callers that need the leaf and not the way to it.
  @inline(__always)
  func search(
    for key: Key
  ) throws(FilesystemError) -> Attempt<(leaf: TreeBlock, slot: Int, isExact: Bool)> {
    var block = root
    while !block.isLeaf {
      let reference = childReference(block, block.childSlot(for: key))
      guard let child = try context.cache.cached(reference) else { return .missing(reference) }
      block = child
    }
    let (slot, isExact) = block.lowerBound(key)
    return .done((block, slot, isExact))
  }

  @inline(__always)
  func childReference(_ block: TreeBlock, _ slot: Int) -> BlockReference {
    let child = block.child(slot)
    return BlockReference(
      address: child.address, generation: child.generation, level: block.level - 1, tree: id,
      firstKey: child.key)
  }

  enum Advance {
    case moved
    case end
    case missing(BlockReference)
  }

  /// Moves a path to the first slot of the next leaf.
  func advanceToNextLeaf(_ path: inout TreePath) throws(FilesystemError) -> Advance {
    var level = 1
    while level <= path.rootLevel, path.slots[level] + 1 >= path.block(level).count { level += 1 }
    guard level <= path.rootLevel else { return .end }
    path.slots[level] += 1

    while level > 0 {
      let reference = childReference(path.block(level), path.slots[level])
      guard let child = try context.cache.cached(reference) else { return .missing(reference) }
      path.set(child, 0)
      level -= 1
    }
    return .moved
  }
}

/// The blocks from the root down to a leaf, with a slot in each.
///
/// It counts the references to its blocks itself. Else each path, and every change makes one, would be
/// set up and taken down by general code of the runtime.
struct TreePath: ~Copyable {
  private var blocks = InlineArray<8, Unmanaged<TreeBlock>?>(repeating: nil)
  var slots = InlineArray<8, Int>(repeating: 0)
  var rootLevel = 0
  /// Whether the leaf's slot holds the key that was looked for, not just the place for it.
  var isExact = false

  deinit {
    for level in 0..<8 { blocks[level]?.release() }
  }

  @inline(__always)
  mutating func set(_ block: TreeBlock, _ slot: Int) {
    setBlock(block)
    slots[Int(block.level)] = slot
  }

  /// Puts a block in the place of the one at its level; the slot stays.
  @inline(__always)
  mutating func setBlock(_ block: TreeBlock) {
    let level = Int(block.level)
    let before = blocks[level]
    blocks[level] = .passRetained(block)
    before?.release()
  }

  /// Traps when there is none at this level.
  @inline(__always)
  func block(_ level: Int) -> TreeBlock { blocks[level]!.takeUnretainedValue() }
  @inline(__always) var leaf: TreeBlock { block(0) }
  @inline(__always) var slot: Int { slots[0] }

  /// The key with which the next leaf begins, as the blocks above say; nil in the last leaf.
  var endOfLeaf: Key? {
    var level = 1
    while level <= rootLevel {
      let next = slots[level] + 1
      if next < block(level).count { return block(level).key(next) }
      level += 1
    }
    return nil
  }
}

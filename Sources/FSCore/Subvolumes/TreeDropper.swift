/// Takes the tree of a deleted subvolume apart, from its first leaf to its root (format §9.7), in steps.
///
/// 1. The tree is not changed: blocks that only it has are freed, with all that they refer to; of
///    blocks that others have as well it gives up its reference.
/// 2. Where such a block says that what it refers to is counted by this tree, that is counted by the
///    block itself from then on, and so are the blocks below it, before the reference goes.
/// 3. All that one unit of work changes is noted in one transaction, and after each unit every count is
///    right: it is legal to commit, or to lose power, between any two.
/// 4. In the transaction of each step the root item gets the place where the next one begins, as Linux
///    has it: a node and a key of it. What stands before that key is gone; the nodes above it are all
///    there, and nobody else has them.
/// 5. A count is looked at, and changed by what follows from it, as one step (`withReferencesLocked`):
///    other trees change the same blocks.
///
/// One thread uses it.
struct TreeDropper {
  /// A node on the way down.
  private struct Frame {
    let block: TreeBlock
    var slot = 0
    /// What it refers to is counted by the block itself.
    let isFull: Bool
    /// The block stays: what is below it is counted anew (invariant 2).
    let isShared: Bool
    /// The child at `slot` has been gone through by invariant 2.
    var isChildCounted = false
  }

  let id: TreeID
  private let trees: Trees
  private let references: DelayedReferences
  private let key: Key
  /// Blocks that are not newer than this are not the tree's own: it was a snapshot then.
  private let origin: Generation
  private var frames: [Frame] = []
  /// The tree is one leaf.
  private var leaf: TreeBlock?
  private(set) var isDone = false

  private var cache: TreeBlockCache { trees.context.cache }

  /// Finds where an earlier mount has come to. Reads the blocks on the way there.
  init(_ id: TreeID, trees: Trees, references: DelayedReferences) throws(FilesystemError) {
    self.id = id
    self.trees = trees
    self.references = references
    guard let (key, item) = try trees.rootItem(of: id), item.references == 0 else {
      throw .notFound
    }
    self.key = key
    origin = Generation(key.offset)
    let root = try cache.load(
      BlockReference(
        address: item.address, generation: item.generation, level: item.level, tree: id,
        firstKey: nil))
    guard !root.isLeaf else {
      leaf = root
      return
    }
    let progress = item.dropProgress
    frames = [Frame(block: root, isFull: try requireOwn(root), isShared: false)]
    guard progress.objectID.rawValue != 0 else { return }
    guard item.dropLevel >= 1, item.dropLevel <= root.level else {
      throw .corrupt("the deletion of subvolume \(id) stands at level \(item.dropLevel)")
    }
    while let last = frames.last {
      let slot = last.block.childSlot(for: progress)
      frames[frames.count - 1].slot = slot
      if last.block.level == item.dropLevel {
        guard last.block.key(slot) == progress else {
          throw .corrupt(
            "the deletion of subvolume \(id) stands at \(progress), which is not there")
        }
        return
      }
      let child = try cache.load(reference(last.block, slot))
      frames.append(Frame(block: child, isFull: try requireOwn(child), isShared: false))
    }
  }

  /// Throws unless only this tree has a block. Returns whether it has FULL_BACKREF.
  private func requireOwn(_ block: TreeBlock) throws(FilesystemError) -> Bool {
    let state = try references.state(of: block.address, .treeBlock(level: block.level))
    guard state.references == 1 else {
      throw .corrupt(
        "subvolume \(id) is being deleted: block \(block.address) has \(state.references) references"
      )
    }
    return state.fullBackref
  }

  private func reference(_ block: TreeBlock, _ slot: Int) -> BlockReference {
    let child = block.child(slot)
    return BlockReference(
      address: child.address, generation: child.generation, level: block.level - 1, tree: id,
      firstKey: child.key)
  }

  /// Does some units, and notes how far it has come. An error that comes between two units leaves
  /// everything as if the step had ended there.
  ///
  /// - Parameter limit: about how many references to change.
  mutating func step(
    atMost limit: Int, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    try trees.prepareForgetting(id, rootItem: key, in: handle)
    handle.noteWhole()
    var changed = 0
    var failure: FilesystemError?
    do throws(FilesystemError) {
      while changed < limit, !isDone {
        changed += try unit(in: handle)
        if !isDone { handle.noteWhole() }
      }
    } catch {
      if handle.isHalfDone { throw error }
      failure = error
    }
    if changed > 0, !isDone { try saveProgress(in: handle) }
    handle.noteWhole()
    if let failure { throw failure }
  }

  /// The lowest node that is being taken apart, and the key of its next child.
  private func saveProgress(in handle: borrowing TransactionHandle) throws(FilesystemError) {
    guard let frame = frames.last(where: { !$0.isShared }) else { return }
    handle.noteChange()
    let (level, key) = (frame.block.level, frame.block.key(frame.slot))
    try trees.modifyRootItem(of: id, in: handle) { item in
      item.dropLevel = level
      item.dropProgress = key
    }
  }

  /// One unit of work; returns how many references it has changed, at least one.
  private mutating func unit(in handle: borrowing TransactionHandle) throws(FilesystemError) -> Int
  {
    if let leaf {
      let isFull = try requireOwn(leaf)
      let count = try drop(leaf, isFull: isFull, .treeBlock(root: id), in: handle)
      try finish(in: handle)
      return count
    }
    let frame = frames[frames.count - 1]
    if frame.isShared { return try countAnew(in: handle) }

    let (block, slot) = (frame.block, frame.slot)
    let child = block.child(slot)
    let level = block.level - 1
    let kind = ExtentKind.treeBlock(level: level)
    // The blocks that matter are read before anything is locked.
    let mayBeOwn = child.generation > origin
    let state = try references.state(of: child.address, kind)
    var loaded: TreeBlock?
    if state.references == 1 || mayBeOwn { loaded = try cache.load(reference(block, slot)) }

    let identity = name(of: frame)
    let outcome = try references.withReferencesLocked { () throws(FilesystemError) -> Outcome in
      let state = try references.state(of: child.address, kind)
      guard state.references > 0 else {
        throw .corrupt("tree \(id): block \(child.address) has no reference")
      }
      if state.references == 1 {
        guard let loaded else { return .again }
        return .own(loaded, isFull: state.fullBackref)
      }
      if let loaded, loaded.owner == id, !frame.isChildCounted, !state.fullBackref || level > 0 {
        // Of a leaf there is nothing below.
        let count =
          state.fullBackref ? 0 : try setFull(loaded, in: handle)
        return .shared(loaded, count)
      }
      handle.noteChange()
      references.add(child.address, kind, identity, count: -1, newExtent: false, in: handle)
      return .givenUp
    }

    switch outcome {
    case .again: return 1
    case .givenUp: return 1 + (try advance(in: handle))
    case .shared(let child, let count):
      if child.isLeaf {
        frames[frames.count - 1].isChildCounted = true
      } else {
        frames.append(Frame(block: child, isFull: true, isShared: true))
      }
      return count + 1
    case .own(let child, let isFull):
      guard child.isLeaf else {
        frames.append(Frame(block: child, isFull: isFull, isShared: false))
        return 1
      }
      let count = try drop(child, isFull: isFull, identity, in: handle)
      return count + (try advance(in: handle))
    }
  }

  private enum Outcome {
    /// The references have changed meanwhile.
    case again
    case givenUp
    /// Others have it, too; so many references were changed.
    case shared(TreeBlock, Int)
    case own(TreeBlock, isFull: Bool)
  }

  /// How the children of a node are counted.
  private func name(of frame: Frame) -> ReferenceIdentity {
    frame.isFull
      ? .sharedBlock(parent: frame.block.address) : .treeBlock(root: frame.block.owner)
  }

  /// The child at the lowest frame's slot is done with: goes on to the next one, and frees nodes that
  /// have none left. Returns how many references that has changed.
  private mutating func advance(
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Int {
    var changed = 0
    while true {
      frames[frames.count - 1].slot += 1
      frames[frames.count - 1].isChildCounted = false
      let frame = frames[frames.count - 1]
      guard frame.slot == frame.block.count else { return changed }
      frames.removeLast()
      let identity = frames.last.map { name(of: $0) } ?? .treeBlock(root: id)
      handle.noteChange()
      references.add(
        frame.block.address, .treeBlock(level: frame.block.level), identity, count: -1,
        newExtent: false, in: handle)
      changed += 1
      if frames.isEmpty {
        try finish(in: handle)
        return changed
      }
    }
  }

  /// Frees a leaf that nobody else has.
  private func drop(
    _ leaf: TreeBlock, isFull: Bool, _ identity: ReferenceIdentity,
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Int {
    let held = try content(of: leaf, isFull ? .parent(leaf.address) : .tree(leaf.owner))
    handle.noteChange()
    for (address, kind, identity) in held {
      references.add(address, kind, identity, count: -1, newExtent: false, in: handle)
    }
    references.add(
      leaf.address, .treeBlock(level: 0), identity, count: -1, newExtent: false, in: handle)
    return held.count + 1
  }

  private func content(
    of block: TreeBlock, _ owner: ContentOwner
  ) throws(FilesystemError) -> [(LogicalAddress, ExtentKind, ReferenceIdentity)] {
    var found: [(LogicalAddress, ExtentKind, ReferenceIdentity)] = []
    try block.forEachReference(owner) { (address, kind, identity) throws(FilesystemError) in
      found.append((address, kind, identity))
    }
    return found
  }

  /// Lets what a block refers to be counted by the block. The references are locked.
  private func setFull(
    _ block: TreeBlock, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Int {
    let old = try content(of: block, .tree(id))
    let new = try content(of: block, .parent(block.address))
    handle.noteChange()
    for (address, kind, identity) in new {
      references.add(address, kind, identity, count: 1, newExtent: false, in: handle)
    }
    for (address, kind, identity) in old {
      references.add(address, kind, identity, count: -1, newExtent: false, in: handle)
    }
    references.setFullBackref(block.address, level: block.level, in: handle)
    return old.count + new.count
  }

  /// A unit of invariant 2: one child of the lowest frame, which others have as well.
  private mutating func countAnew(
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Int {
    let last = frames.count - 1
    let frame = frames[last]
    guard frame.slot < frame.block.count else {
      frames.removeLast()
      // Its reference is next, if there are others still.
      if !frames[last - 1].isShared {
        frames[last - 1].isChildCounted = true
      } else {
        frames[last - 1].slot += 1
      }
      return 1
    }
    let pointer = frame.block.child(frame.slot)
    var isDue = pointer.generation > origin
    // A leaf that was counted anew before need not be read.
    if isDue, frame.block.level == 1 {
      isDue = try !references.state(of: pointer.address, .treeBlock(level: 0)).fullBackref
    }
    guard isDue else {
      frames[last].slot += 1
      return 1
    }
    let child = try cache.load(reference(frame.block, frame.slot))
    guard child.owner == id else {
      frames[last].slot += 1
      return 1
    }
    let changed = try references.withReferencesLocked { () throws(FilesystemError) -> Int in
      let state = try references.state(of: child.address, .treeBlock(level: child.level))
      return state.fullBackref ? 0 : try setFull(child, in: handle)
    }
    if child.isLeaf {
      frames[last].slot += 1
    } else {
      frames.append(Frame(block: child, isFull: true, isShared: true))
    }
    return changed + 1
  }

  private mutating func finish(in handle: borrowing TransactionHandle) throws(FilesystemError) {
    try trees.forget(id, rootItem: key, in: handle)
    isDone = true
  }
}

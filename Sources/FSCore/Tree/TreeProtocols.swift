/// Who holds a reference to an extent (format §9.2).
package enum ReferenceIdentity: Hashable, Sendable {
  /// Some parent block that tree `root` owns points here.
  case treeBlock(root: TreeID)
  /// The block at `parent` points here.
  case sharedBlock(parent: LogicalAddress)
  /// File extent items of an inode: `offset` is the item's file offset less its offset within
  /// the extent, modulo 2^64.
  case data(root: TreeID, inode: ObjectID, offset: UInt64)
  /// File extent items in the leaf at `parent`.
  case sharedData(parent: LogicalAddress)
}

/// What an extent holds.
package enum ExtentKind: Hashable, Sendable {
  case treeBlock(level: UInt8)
  case data(length: UInt64)
}

/// Finds room for new tree blocks. Called with a tree's lock held: never does IO, and never
/// waits for anything but locks of higher rank.
package protocol TreeBlockAllocator: AnyObject, Sendable {
  func allocateTreeBlock(
    for tree: TreeID, level: UInt8, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> LogicalAddress
}

/// Keeps count of the references to each extent. What it is told is in memory until the
/// references are applied to the extent tree.
package protocol ExtentReferences: AnyObject, Sendable {
  /// Changes how often `identity` references the extent at `address`, by `count`. Never IO.
  func add(
    _ address: LogicalAddress, _ kind: ExtentKind, _ identity: ReferenceIdentity, count: Int32,
    newExtent: Bool, in handle: borrowing TransactionHandle)

  /// Says that references made by the content of this block name the block, not its owner.
  func setFullBackref(
    _ address: LogicalAddress, level: UInt8, in handle: borrowing TransactionHandle)

  /// The number of references and whether FULL_BACKREF is set, all changes told so far included.
  func state(
    of address: LogicalAddress, _ kind: ExtentKind
  ) throws(FilesystemError) -> (references: UInt64, fullBackref: Bool)

  /// Runs `body` while nobody else looks at or changes the references of shared blocks, so that
  /// `state` and the changes that follow from it are one step. Lock rank: `extentReferences`;
  /// `state` may be called within.
  func withReferencesLocked<R>(
    _ body: () throws(FilesystemError) -> R
  ) throws(FilesystemError) -> R
}

import Synchronization

/// An inode in memory. At most one exists for each id (`InodeTable`).
///
/// 1. `item` is what the tree holds, but for `size` and `nbytes` of a regular file, which run
///    ahead of it while bytes are buffered, and an access time that there was no space to write.
/// 2. `item` changes under an open transaction handle only, so that a commit never splits a
///    change of names from the attributes that go with it.
/// 3. Names in a directory, and the attributes, change with `lock` held exclusively. The files
///    layer changes size and times of a file under `content` instead.
package final class Inode: @unchecked Sendable {
  package let id: InodeID
  package let subvolume: Subvolume

  /// The directory that this one stands in, when this is a stub (`StubPlaces`).
  let around: Inode?

  /// Names, attributes, existence.
  package let lock: ReadWriteLock

  /// The bytes of a regular file.
  package let content: ReadWriteLock

  /// The attributes; `size` is what `stat` shows.
  package let item: Guarded<InodeItem>

  /// How much of a regular file's size is written to disk: no more than what has its data
  /// there. Guarded by `item`.
  var diskSize: UInt64

  /// What the files layer keeps of it.
  let fileState: any FileState

  /// What the file type bits of the mode say; they never change.
  package let type: EntryType

  /// The index that the next entry of this directory gets; 0 while nobody has looked.
  /// Guarded by `lock`.
  var nextEntryIndex: UInt64 = 0

  /// The default ACL of this directory. Guarded by `lock`.
  var defaultACL = Cached<[UInt8]?>.unknown

  /// Whether it has extended attributes: 0 when nobody has looked, 1 no, 2 perhaps. It goes to 1
  /// only with `lock` held.
  let attributePresence = Atomic<UInt8>(0)

  private let deleted = Atomic<Bool>(false)

  // Guarded by the table's shard.

  /// How often it is open.
  var openCount = 0
  /// Without a name, and in the list of orphans on disk.
  var isOrphan = false
  /// Used since the table last looked for what to evict.
  var isRecent = true

  enum Cached<Value> {
    case unknown
    case known(Value)
  }

  /// Throws when the mode names no file type.
  init(
    id: InodeID, subvolume: Subvolume, item: InodeItem, fileState: any FileState,
    around: Inode? = nil
  ) throws(FilesystemError) {
    guard let type = EntryType(mode: item.mode) else {
      throw .corrupt("inode \(id) with mode \(String(item.mode, radix: 8))")
    }
    self.id = id
    lock = ReadWriteLock(rank: .inode, order: id)
    content = ReadWriteLock(rank: .fileContent, order: id)
    self.subvolume = subvolume
    self.around = around
    self.type = type
    self.item = Guarded(item, rank: .leaf)
    diskSize = item.size
    self.fileState = fileState
  }

  package var tree: Tree { subvolume.tree }
  package var number: ObjectID { id.number }
  package var isDirectory: Bool { type == .directory }
  package var isRegular: Bool { type == .regular }

  /// Whether this is the empty directory in place of a subvolume that the snapshot does not have.
  package var isStub: Bool { id.number.isStub }

  /// The inode is gone from the tree; operations that still refer to it get `.stale`.
  var isDeleted: Bool { deleted.load(ordering: .acquiring) }

  func markDeleted() { deleted.store(true, ordering: .releasing) }

  /// Nothing would be lost if this object went.
  var isEvictable: Bool { openCount == 0 && !isOrphan && fileState.isClean }

  /// The root directory of a deleted subvolume: as on Linux it has no names any more, while other
  /// directories keep theirs. It becomes one with `lock` held exclusively.
  var isDeletedRoot: Bool { number == .firstFree && subvolume.isDeleted }

  var itemKey: Key { Key(number, .inodeItem, 0) }

  /// Writes the attributes into the tree, with `diskSize` for the size of a regular file.
  func writeItem(in handle: borrowing TransactionHandle) throws(FilesystemError) {
    guard !isStub else { return }
    let generation = handle.generation

    // Encoded under the tree's lock: of two threads at a time, the second writes the newer one.
    let written: Void? = try tree.modify(itemKey, in: handle) {
      (bytes) throws(FilesystemError) in
      guard bytes.count == InodeItem.size else { throw .corrupt("the item of inode \(id)") }
      item.withLock { item in
        item.transactionID = generation
        item.sequence &+= 1
        var stored = item
        if isRegular { stored.size = min(diskSize, item.size) }
        stored.encode(into: bytes)
      }
    }
    guard written != nil else { throw .corrupt("inode \(id) has no item") }
  }

  /// Changes the attributes, in memory and in the tree.
  func update(
    in handle: borrowing TransactionHandle, _ change: (inout InodeItem) -> Void
  ) throws(FilesystemError) {
    item.withLock { item in
      change(&item)
      if !isRegular { diskSize = item.size }
    }
    try writeItem(in: handle)
  }

  /// Attributes as they are now.
  package var attributes: InodeItem { item.withLock { $0 } }
}

extension Inode {
  /// Throws unless this is a directory that still has a name.
  func requireLiveDirectory() throws(FilesystemError) {
    guard isDirectory else { throw .notDirectory }
    guard !isDeleted else { throw .stale }
    guard attributes.linkCount > 0, !isDeletedRoot else { throw .notFound }
  }

  /// Throws unless this is a directory in which there can be names.
  func requireRoomForNames() throws(FilesystemError) {
    try requireLiveDirectory()
    guard !isStub else { throw .notPermitted }
  }

  /// Throws `.notPermitted` when the flags forbid changing anything in it; `.append` is for
  /// what takes away or overwrites.
  func requireFlagsAllow(
    unless forbidden: InodeFlags = .immutable
  ) throws(FilesystemError) {
    guard attributes.flags.isDisjoint(with: forbidden) else { throw .notPermitted }
  }
}

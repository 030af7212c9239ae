import Synchronization

/// A subvolume in use: its tree, and what its inodes share.
package final class Subvolume: Sendable {
  package let tree: Tree
  package let geometry: Geometry

  /// Flagged read-only in its ROOT_ITEM. Any thread may ask.
  package var isReadOnly: Bool { readOnly.load(ordering: .relaxed) }
  private let readOnly: Atomic<Bool>

  /// Passed by whoever writes data where they stand, and closed by snapshots.
  let inPlace = InPlaceGate()

  /// The highest inode number given out; 0 while nobody has looked.
  private let lastNumber: Atomic<UInt64>

  /// - Parameter lastNumber: the highest number that this mount has given out before.
  init(tree: Tree, geometry: Geometry, isReadOnly: Bool, lastNumber: UInt64 = 0) {
    self.lastNumber = Atomic(lastNumber)
    self.tree = tree
    self.geometry = geometry
    readOnly = Atomic(isReadOnly)
  }

  package var id: TreeID { tree.id }

  /// It has no name any more, and gets no subvolumes: it is there while files of it are open. Set
  /// under a handle that is alone.
  var isDeleted: Bool { deleted.load(ordering: .acquiring) }
  private let deleted = Atomic<Bool>(false)
  func markDeleted() { deleted.store(true, ordering: .releasing) }

  /// No inode of it is loaded any more.
  var isRetired: Bool { retired.load(ordering: .acquiring) }
  private let retired = Atomic<Bool>(false)
  func setRetired(_ isRetired: Bool) { retired.store(isRetired, ordering: .releasing) }

  /// The ROOT_ITEM says so from now on.
  func setReadOnly(_ isReadOnly: Bool) { readOnly.store(isReadOnly, ordering: .relaxed) }

  var lastGivenNumber: UInt64 { lastNumber.load(ordering: .relaxed) }

  /// A number that no inode has, and that is never given out again while the volume is mounted.
  func newInodeNumber() throws(FilesystemError) -> ObjectID {
    if lastNumber.load(ordering: .relaxed) == 0 {
      let last = try tree.findLast(
        atMost: Key(.lastFree, ItemType(UInt8.max), UInt64.max)
      ) { (key, _) in key.objectID }

      // Whoever comes second finds numbers that the first gave out: the first value stands.
      _ = lastNumber.compareExchange(
        expected: 0, desired: max(last ?? .firstFree, .firstFree).rawValue, ordering: .relaxed)
    }
    guard lastNumber.load(ordering: .relaxed) < ObjectID.lastNew.rawValue else { throw .noSpace }
    let number = ObjectID(rawValue: lastNumber.wrappingAdd(1, ordering: .relaxed).newValue)
    guard number >= .firstFree, number <= .lastNew else { throw .noSpace }
    return number
  }

  /// What an item with several entries, a DIR_ITEM or an INODE_REF, may grow to. Linux asks for
  /// room for one more item header than the item needs, and so do we, to fail where it fails.
  var longestSharedItem: Int { geometry.maximumItemSize - Format.itemHeaderSize }
}

extension TreeID {
  /// Why something in a read-only subvolume cannot be changed, and what to do.
  package var readOnlyHint: String {
    "it belongs to subvolume \(self), which 'fsmount subvolume set-rw' makes writable"
  }
}

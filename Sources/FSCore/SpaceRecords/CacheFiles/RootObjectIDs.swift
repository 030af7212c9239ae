/// Hands out object ids of the root tree: one counter for the inodes of free space caches and
/// for new subvolumes (format §6.7). Lock rank: `leaf`.
package final class RootObjectIDs: Sendable {
  /// The last id that is in use, or was handed out.
  let last: Guarded<UInt64>

  /// The highest id that may be handed out: −257.
  private static let highest = UInt64.max - 256

  package init(root: Tree) throws(FilesystemError) {
    let end = Key(ObjectID(Self.highest), ItemType(.max), .max)
    let found = try root.findLast(atMost: end) { key, _ throws(FilesystemError) in
      key.objectID.rawValue
    }
    last = Guarded(max(found ?? 0, ObjectID.firstFree.rawValue - 1), rank: .leaf)
  }

  package func next() throws(FilesystemError) -> ObjectID {
    try last.withLock { last throws(FilesystemError) in
      guard last < Self.highest else { throw .noSpace }
      last += 1
      return ObjectID(last)
    }
  }
}

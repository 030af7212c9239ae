/// Which subvolume is mounted when none is named: an entry in a directory of the root tree
/// (format §6.5). What it says is not checked when its leaf is read, and may be any tree: then nothing is
/// mounted by default, and another default can still be set.
package enum DefaultSubvolume {
  private static let name = Array("default".utf8)
  package static let key = Key(.rootTreeDirectory, .dirItem, FormatHash.name(name))

  /// The one that the image names, whether there is such a subvolume or not; nil when it names none.
  static func find(in root: Tree) throws(FilesystemError) -> TreeID? {
    try root.find(key) { (bytes) throws(FilesystemError) in try decode(bytes) } ?? nil
  }

  /// As `find`, of the item with the key.
  package static func decode(_ bytes: RawSpan) throws(FilesystemError) -> TreeID? {
    let entry = try DirectoryEntry.all(in: bytes).first { $0.name == name }
    return entry.map { TreeID($0.location.objectID.rawValue) }
  }

  /// Names another one.
  static func set(
    _ id: TreeID, in root: Tree, _ handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let entry = DirectoryEntry(
      location: Key(id.objectID, .rootItem, 0), transactionID: 0, type: .directory, name: name)
    try root.replace(key, size: entry.size, in: handle) { entry.encode(into: $0) }
  }
}

/// Which subvolume an inspection found to be mounted when none is named.
package struct FoundDefault: Sendable {
  package var id = TreeID.topLevel
  /// Why that is not known; nil when it is.
  package var problem: String?

  package init(_ id: TreeID) { self.id = id }

  init(damage: String) {
    problem = "which subvolume is the default is not known: its item is damaged (\(damage))"
  }
}

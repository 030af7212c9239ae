/// Which subvolume is mounted when none is named: an entry in a directory of the root tree
/// (format §6.5).
package enum DefaultSubvolume {
  private static let name = Array("default".utf8)
  package static let key = Key(.rootTreeDirectory, .dirItem, FormatHash.name(name))

  /// The one that the image names; nil when it names none, or no subvolume.
  static func find(in root: Tree) throws(FilesystemError) -> TreeID? {
    try root.find(key) { (bytes) throws(FilesystemError) in try decode(bytes) } ?? nil
  }

  /// The one that the item with the key says; nil when it names none, or no subvolume.
  package static func decode(_ bytes: RawSpan) throws(FilesystemError) -> TreeID? {
    let entry = try DirectoryEntry.all(in: bytes).first { $0.name == name }
    guard let id = entry.map({ TreeID($0.location.objectID.rawValue) }), id.isSubvolume else {
      return nil
    }
    return id
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

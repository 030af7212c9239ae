/// Lists subvolumes by what the trees of a mount say. Deleted ones are apart.
package struct SubvolumeList {
  let trees: Trees

  package init(_ trees: Trees) { self.trees = trees }

  /// All subvolumes. What is seen of two of them may be of two moments, and something that is renamed
  /// meanwhile looks as if it were nowhere.
  package func listing() throws(FilesystemError) -> SubvolumeListing {
    var scan = SubvolumeScan()
    try trees.root.forEach(from: SubvolumeScan.firstKey, through: SubvolumeScan.lastKey) {
      (key, bytes) throws(FilesystemError) in
      scan.add(key, bytes)
      return true
    }
    return scan.finish(self)
  }

  /// What is known of one, without its path; nil when it is not there, or deleted.
  package func record(of id: TreeID) throws(FilesystemError) -> SubvolumeRecord? {
    guard let (_, item) = try trees.rootItem(of: id), item.references > 0 else { return nil }
    var record = SubvolumeRecord(id: id, item: item)
    let place = try trees.root.findFirst(atLeast: Key(id.objectID, .rootBackref, 0)) {
      (key, bytes) throws(FilesystemError) -> (TreeID, RootReference)? in
      guard key.objectID == id.objectID, key.type == .rootBackref else { return nil }
      return (TreeID(key.offset), try RootReference(bytes))
    }
    if let place, let (parent, reference) = place {
      record.parent = parent
      record.directory = reference.directory
      record.name = reference.name
    }
    return record
  }

  /// The path of a subvolume from the top level; empty when it cannot be found, or is too long.
  package func path(of record: SubvolumeRecord) throws(FilesystemError) -> [UInt8] {
    do throws(FilesystemError) {
      return try findPath(of: record)
    } catch .corrupt, .notFound {
      return []
    } catch {
      throw error
    }
  }

  /// As `path`, but what is damaged is thrown.
  private func findPath(of record: SubvolumeRecord) throws(FilesystemError) -> [UInt8] {
    var parts: [[UInt8]] = []
    var length = 0
    var next = record
    while next.id != .topLevel {
      guard parts.count < 4096, length <= Self.longestPath, let parent = next.parent,
        let directory = next.directory, let inParent = try path(of: directory, in: parent),
        let above = try self.record(of: parent)
      else { return [] }
      parts.append(Self.joined([inParent, next.name]))
      length += inParent.count + next.name.count + 2
      next = above
    }
    return Self.joined(parts.reversed())
  }

  /// Paths that are longer are those of a hostile image: a mount knows no path of more than 4 KiB.
  private static let longestPath = 64 << 10

  /// The path of a directory from its subvolume's root; empty for that itself, nil when it cannot be
  /// found, or is too long.
  func path(
    of directory: ObjectID, in id: TreeID
  ) throws(FilesystemError) -> [UInt8]? {
    guard directory != .firstFree else { return [] }
    let tree = try trees.subvolume(id)
    var parts: [[UInt8]] = []
    var number = directory
    var length = 0
    // Longer chains than this are loops in a damaged image.
    while number != .firstFree, parts.count < 4096 {
      guard let (parent, name) = try Self.link(of: number, in: tree) else { return nil }
      length += name.count + 1
      guard length <= Self.longestPath else { return nil }
      parts.append(name)
      number = parent
    }
    return number == .firstFree ? Self.joined(parts.reversed()) : nil
  }

  private static func link(
    of directory: ObjectID, in tree: Tree
  ) throws(FilesystemError) -> (parent: ObjectID, name: [UInt8])? {
    try tree.findFirst(atLeast: Key(directory, .inodeRef, 0)) { (key, bytes) in
      DirectoryLink.decode(directory, key, bytes)
    } ?? nil
  }

  private static func joined(_ parts: some Sequence<[UInt8]>) -> [UInt8] {
    Array(parts.filter { !$0.isEmpty }.joined(separator: [UInt8(ascii: "/")]))
  }
}

extension SubvolumeList: DirectoryLinks {
  package func link(
    of directory: ObjectID, in tree: TreeID
  ) throws(FilesystemError) -> (parent: ObjectID, name: [UInt8])? {
    try Self.link(of: directory, in: trees.subvolume(tree))
  }
}

/// INODE_REF of a directory, which has one name alone.
package enum DirectoryLink {
  /// Nil for what is no such item of `directory`, or damaged.
  package static func decode(
    _ directory: ObjectID, _ key: Key, _ bytes: RawSpan
  ) -> (parent: ObjectID, name: [UInt8])? {
    guard key.objectID == directory, key.type == .inodeRef, bytes.byteCount >= 10,
      bytes.byteCount >= 10 + Int(bytes.u16(8))
    else { return nil }
    return (ObjectID(key.offset), bytes.array(10, Int(bytes.u16(8))))
  }
}

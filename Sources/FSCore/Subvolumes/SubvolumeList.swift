/// What is known of a subvolume: its root item, and where it stands.
package struct SubvolumeRecord: Sendable {
  package let id: TreeID
  package let item: RootItem
  /// The subvolume that it stands in; nil for the top level.
  package var parent: TreeID?
  /// In that one.
  package var directory: ObjectID?
  package var name: [UInt8] = []
  /// From the top level; empty for that itself.
  package var path: [UInt8] = []
}

/// Lists subvolumes by what the root tree says. Deleted ones are left out.
package struct SubvolumeList {
  let trees: Trees

  package init(_ trees: Trees) { self.trees = trees }

  /// All subvolumes by ascending number, the top level first. One whose place cannot be found, as on
  /// a damaged image, has no name.
  package func all() throws(FilesystemError) -> [SubvolumeRecord] {
    var records: [SubvolumeRecord] = []
    for id in try trees.subvolumeIDs() {
      if let record = try record(of: id) { records.append(record) }
    }
    var paths: [TreeID: [UInt8]] = [.topLevel: []]
    for index in records.indices { records[index].path = try path(of: records[index], &paths) }
    return records
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
    var paths: [TreeID: [UInt8]] = [.topLevel: []]
    return try path(of: record, &paths)
  }

  /// - Parameter paths: those that are known already.
  private func path(
    of record: SubvolumeRecord, _ paths: inout [TreeID: [UInt8]]
  ) throws(FilesystemError) -> [UInt8] {
    do throws(FilesystemError) {
      return try findPath(of: record, &paths)
    } catch .corrupt, .notFound {
      return []
    } catch {
      throw error
    }
  }

  /// As `path`, but what is damaged is thrown.
  private func findPath(
    of record: SubvolumeRecord, _ paths: inout [TreeID: [UInt8]]
  ) throws(FilesystemError) -> [UInt8] {
    // From the subvolume up to one whose path is known.
    var chain: [SubvolumeRecord] = []
    var next = record
    while paths[next.id] == nil, chain.count < 4096, let parent = next.parent {
      chain.append(next)
      if paths[parent] != nil { break }
      guard let above = try self.record(of: parent) else { break }
      next = above
    }
    for record in chain.reversed() {
      guard let parent = record.parent, let directory = record.directory, let above = paths[parent]
      else { continue }
      guard let inParent = try path(of: directory, in: parent) else { break }
      let whole = Self.joined([above, inParent, record.name])
      guard whole.count <= Self.longestPath else { break }
      paths[record.id] = whole
    }
    return paths[record.id] ?? []
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
      let found = try tree.findFirst(atLeast: Key(number, .inodeRef, 0)) {
        (key, bytes) throws(FilesystemError) -> (ObjectID, [UInt8])? in
        guard key.objectID == number, key.type == .inodeRef, bytes.byteCount >= 10,
          bytes.byteCount >= 10 + Int(bytes.u16(8))
        else { return nil }
        return (ObjectID(key.offset), bytes.array(10, Int(bytes.u16(8))))
      }
      guard let found, let (parent, name) = found else { return nil }
      length += name.count + 1
      guard length <= Self.longestPath else { return nil }
      parts.append(name)
      number = parent
    }
    return number == .firstFree ? Self.joined(parts.reversed()) : nil
  }

  private static func joined(_ parts: some Sequence<[UInt8]>) -> [UInt8] {
    Array(parts.filter { !$0.isEmpty }.joined(separator: [UInt8(ascii: "/")]))
  }
}

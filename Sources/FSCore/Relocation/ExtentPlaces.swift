/// A file extent item that refers to an extent.
struct ExtentPlace: Hashable {
  var tree: TreeID
  var key: Key
}

/// Finds all file extent items that refer to a data extent, in every tree that has them.
///
/// The references of an extent name an owner, or the leaf; trees that share the leaf have the item,
/// too, and no reference of their own. So every item that the references lead to is looked for in all
/// subvolumes, unless its leaf shows that no other tree has it.
struct ExtentPlaces {
  let trees: Trees
  let references: DelayedReferences

  enum Found {
    /// Nothing refers to the extent any more.
    case gone
    /// It has references, but what they name does not have it: while no handle is open that is damage, else
    /// items may just be on their way from one file to another.
    case nowhere
    case places(Set<ExtentPlace>)
    /// These files of the root tree, which do not move as others do.
    case record(Set<ObjectID>)
  }

  func find(
    _ address: LogicalAddress, length: UInt64
  ) throws(FilesystemError) -> Found {
    let identities = try references.referrers(of: address, .data(length: length))
    guard !identities.isEmpty else { return .gone }
    let hidden = identities.keys.compactMap { identity -> ObjectID? in
      if case .data(.root, let inode, _) = identity { inode } else { nil }
    }
    if !hidden.isEmpty { return .record(Set(hidden)) }
    var places: Set<ExtentPlace> = []
    // What may stand in other trees as well.
    var shared: Set<Key> = []
    for identity in identities.keys {
      switch identity {
      case .data(let id, let inode, let offset):
        guard let tree = try trees.shareable(id) else { continue }
        for key in try keys(in: tree, inode, offset, address, length) {
          places.insert(ExtentPlace(tree: id, key: key))
          if try !tree.isPathUnshared(to: key) { shared.insert(key) }
        }
      case .sharedData(let parent):
        let leaf = try trees.context.cache.block(at: parent)
        guard leaf.isLeaf else { throw .corrupt("extent \(address): \(parent) is no leaf") }
        for slot in 0..<leaf.count {
          let key = leaf.key(slot)
          guard key.type == .extentData,
            try Self.refers(leaf.item(slot).bytes, to: address, length)
          else { continue }
          shared.insert(key)
        }
      case .treeBlock, .sharedBlock:
        throw .corrupt("extent \(address) of data has a reference of a tree block")
      }
    }
    if !shared.isEmpty { try addOthers(shared, address, length, into: &places) }
    return places.isEmpty ? .nowhere : .places(places)
  }

  private func addOthers(
    _ keys: Set<Key>, _ address: LogicalAddress, _ length: UInt64,
    into places: inout Set<ExtentPlace>
  ) throws(FilesystemError) {
    for id in try trees.subvolumeIDs() {
      let tree = try trees.subvolume(id)
      for key in keys {
        let refers = try tree.find(key) { bytes throws(FilesystemError) in
          try Self.refers(bytes, to: address, length)
        }
        if refers == true { places.insert(ExtentPlace(tree: id, key: key)) }
      }
    }
  }

  /// The items of an inode that refer to the extent and whose file offset less their offset within
  /// the extent is `offset`, or another number: one may have come meanwhile.
  private func keys(
    in tree: Tree, _ inode: ObjectID, _ offset: UInt64, _ address: LogicalAddress,
    _ length: UInt64
  ) throws(FilesystemError) -> [Key] {
    // A compressed extent stands for more bytes of the file than it has.
    let reach = max(length, Format.longestCompressedExtent)
    let first = offset > UInt64(Int64.max) ? 0 : offset
    let end = offset &+ reach
    var keys: [Key] = []
    guard end > first else { return keys }
    try tree.forEach(
      from: Key(inode, .extentData, first), through: Key(inode, .extentData, end - 1)
    ) { (key, bytes) throws(FilesystemError) in
      if try Self.refers(bytes, to: address, length) { keys.append(key) }
      return true
    }
    return keys
  }

  static func refers(
    _ bytes: RawSpan, to address: LogicalAddress, _ length: UInt64
  ) throws(FilesystemError) -> Bool {
    let item = try FileExtentItem(bytes)
    return item.hasExtent && item.diskAddress == address && item.diskLength == length
  }
}

extension Trees {
  /// A tree whose leaves may hold file extents, but for the root tree: of a subvolume that is not
  /// deleted, or Linux's for moving data. Nil when there is none.
  func shareable(_ id: TreeID) throws(FilesystemError) -> Tree? {
    if id == .dataRelocation { return try optional(id) }
    guard id.isSubvolume else { return nil }
    do throws(FilesystemError) {
      return try subvolume(id)
    } catch .notFound {
      return nil
    }
  }
}

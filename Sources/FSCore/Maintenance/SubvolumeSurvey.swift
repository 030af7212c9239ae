/// The subvolumes of an image, past the cache of a mount, as far as they can be read. Of a leaf of the
/// root tree in which an item is damaged, the others count.
///
/// Where the image is mounted, and may change, the caller is in the mount's `ReuseGuard` from before the
/// reader was made.
package struct SubvolumeSurvey {
  private let reader: ImageReader

  package init(_ reader: ImageReader) { self.reader = reader }

  package func listing() throws(FilesystemError) -> SubvolumeListing {
    var scan = SubvolumeScan()
    var roots: [TreeID: BlockPointer] = [:]
    try reader.walkItemByItem(
      reader.rootOfRootTree, from: SubvolumeScan.firstKey, through: SubvolumeScan.lastKey
    ) { (key, bytes, damage) throws(FilesystemError) in
      scan.add(key, bytes, damage: damage)
      let id = TreeID(key.objectID.rawValue)
      if damage == nil, key.type == .rootItem, id.isSubvolume, let item = try? RootItem(bytes) {
        roots[id] = BlockPointer(
          tree: id, address: item.address, level: item.level, generation: item.generation)
      }
      return true
    }
    return scan.finish(Links(reader: reader, roots: roots), further: reader.remarks)
  }

  /// The subvolume that is mounted when none is named.
  package func defaultSubvolume() throws(FilesystemError) -> FoundDefault {
    var found = FoundDefault(.topLevel)
    try reader.walkItemByItem(
      reader.rootOfRootTree, from: DefaultSubvolume.key, through: DefaultSubvolume.key
    ) { (_, bytes, damage) throws(FilesystemError) in
      do throws(FilesystemError) {
        if let damage { throw .corrupt("\(damage)") }
        found = FoundDefault(try DefaultSubvolume.decode(bytes) ?? .topLevel)
      } catch .corrupt(let rule) {
        found = FoundDefault(damage: rule)
      }
      return true
    }
    return found
  }

  private struct Links: DirectoryLinks {
    let reader: ImageReader
    let roots: [TreeID: BlockPointer]

    func link(
      of directory: ObjectID, in tree: TreeID
    ) throws(FilesystemError) -> (parent: ObjectID, name: [UInt8])? {
      guard let root = roots[tree] else { throw .corrupt("subvolume \(tree) cannot be read") }
      var found: (parent: ObjectID, name: [UInt8])?
      try reader.walk(
        root, from: Key(directory, .inodeRef, 0), through: Key(directory, .inodeRef, .max)
      ) { (key, bytes) throws(FilesystemError) in
        found = DirectoryLink.decode(directory, key, bytes)
        return found == nil
      }
      return found
    }
  }
}

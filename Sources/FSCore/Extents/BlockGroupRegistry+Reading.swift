/// Reading the block groups of an image.
extension BlockGroupRegistry {
  /// The tree that block group items stand in: on images with that feature one of its own.
  static func itemTree(
    _ trees: Trees, _ superblock: Superblock
  ) throws(FilesystemError) -> Tree {
    guard superblock.readOnlyFeatures.contains(.blockGroupTree) else { return trees.extent }
    guard let tree = try trees.optional(.blockGroup) else {
      throw .corrupt("the image has no block group tree, though its superblock says so")
    }
    return tree
  }

  /// Reads the item of each chunk's block group. None is loaded afterwards.
  ///
  /// - Parameter isReadOnly: chunks and groups may disagree; the mount has said so.
  func read(_ chunks: ChunkMap, isReadOnly: Bool) throws(FilesystemError) {
    for chunk in chunks.all {
      let key = Key(ObjectID(chunk.start.rawValue), .blockGroupItem, chunk.length)
      let item = try itemTree.find(key) { bytes throws(FilesystemError) in
        try BlockGroupItem(bytes)
      }
      guard let item, item.flags == chunk.item.flags else {
        if isReadOnly { continue }
        throw .corrupt("chunk \(chunk.start) has no block group item of its type")
      }
      _ = try add(chunk, used: item.used, isNew: false)
    }
  }
}

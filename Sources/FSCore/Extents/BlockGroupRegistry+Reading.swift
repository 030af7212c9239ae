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
    let chunks = chunks.all
    for (number, chunk) in chunks.enumerated() {
      try itemTree.expectGroupItems(of: chunks, from: number)
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

extension Tree {
  /// So many items are looked for together: in the extent tree nearly each is in another leaf.
  private static var groupItemsExpected: Int { 128 }

  /// For whoever looks for the block group item of each chunk in turn, and is at `number`: lets the
  /// device begin to read what the next ones stand in.
  func expectGroupItems(of chunks: [Chunk], from number: Int) throws(FilesystemError) {
    guard number % Self.groupItemsExpected == 0 else { return }
    let next = chunks[number..<min(number + Self.groupItemsExpected, chunks.count)]
    try expectFinding(next.count) { index in
      let chunk = next[number + index]
      return Key(ObjectID(chunk.start.rawValue), .blockGroupItem, chunk.length)
    }
  }
}

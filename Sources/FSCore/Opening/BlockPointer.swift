/// Where a tree begins, or any block of it: what its reader holds it against.
package struct BlockPointer: Sendable {
  package var tree: TreeID
  package var address: LogicalAddress
  package var level: UInt8
  package var generation: Generation

  package init(tree: TreeID, address: LogicalAddress, level: UInt8, generation: Generation) {
    self.tree = tree
    self.address = address
    self.level = level
    self.generation = generation
  }
}

extension Superblock {
  package var rootOfRootTree: BlockPointer {
    BlockPointer(tree: .root, address: root, level: rootLevel, generation: generation)
  }

  /// The root of a log tree, of the transaction that was running; nil when there is none.
  package var rootOfLog: BlockPointer? {
    guard logRoot != 0 else { return nil }
    return BlockPointer(
      tree: .log, address: logRoot, level: logRootLevel, generation: generation.next)
  }

  package var rootOfChunkTree: BlockPointer {
    BlockPointer(
      tree: .chunk, address: chunkRoot, level: chunkRootLevel, generation: chunkRootGeneration)
  }
}

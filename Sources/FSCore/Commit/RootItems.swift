/// The commit's part that says where the trees are: root items in the root tree, and what of the
/// superblock leads to the root tree and the chunk tree.
struct RootItems: CommitParticipant {
  let trees: Trees

  func preparePaths(
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    try trees.prepareRootItems(in: handle)
  }

  func settle(
    in handle: borrowing TransactionHandle, _ context: borrowing CommitContext, round: Int
  ) throws(FilesystemError) -> Bool {
    try trees.updateRootItems(now: .now, in: handle)
  }

  func brokenInvariants() -> [String] { trees.brokenInvariants() }

  func seal(
    _ superblock: inout Superblock, _ context: borrowing CommitContext
  ) throws(FilesystemError) {
    let root = trees.root.rootState
    let chunk = trees.chunk.rootState
    superblock.root = root.address
    superblock.rootLevel = root.level
    superblock.chunkRoot = chunk.address
    superblock.chunkRootLevel = chunk.level
    superblock.chunkRootGeneration = chunk.generation
    if trees.hasNewDefault { superblock.features.insert(.defaultSubvolume) }
    superblock.logRoot = 0
    superblock.logRootLevel = 0
    if superblock.uuidTreeGeneration == context.generation.rawValue - 1 {
      superblock.uuidTreeGeneration = context.generation.rawValue
    }

    // A backup has the figures of its commit, too, which those before this one have set.
    let topLevel = try trees.subvolume(.topLevel)
    let kept = [trees.root, trees.chunk, trees.extent, topLevel, trees.device, trees.checksum]
    superblock.rotateBackup(
      kept.map {
        let state = $0.rootState
        return Superblock.BackupTree(
          address: state.address, generation: state.generation, level: state.level)
      })
  }
}

import Logging

extension Volume {
  /// Puts the layers together, from the lowest up; each part is given what it needs. Three things
  /// cannot be given, because the part that gets them is made first. They are bound at the end:
  ///
  /// 1. A change of a tree allocates and counts blocks, and both are known from trees.
  /// 2. Block groups are loaded from the record of free space, which stands in block groups.
  /// 3. A part that runs short of space or memory asks for a commit, which needs all parts.
  static func assemble(
    _ image: OpenedImage, options: VolumeOptions, log: Logger
  ) throws(FilesystemError) -> Volume {
    let trees = image.trees
    let geometry = image.geometry
    let demand = SpaceDemand()
    let commitRequests = CommitRequests(memory: image.memory)
    let checksums = ChecksumTree(tree: trees.checksum, geometry: geometry)
    let recordKind = try SpaceRecordKind(of: image, options)
    let space = try Space(
      trees: trees, chunks: image.device.chunks, geometry: geometry,
      superblock: image.superblock, demand: demand, commits: commitRequests,
      isReadOnly: image.readOnlyReason != nil,
      notesChanges: recordKind == .freeSpaceTree && image.readOnlyReason == nil,
      memory: image.memory, log: log)
    let transactions = TransactionManager(
      committed: image.superblock.generation, reserver: space.reservations, commits: commitRequests,
      repairs: image.device.repairs, log: log)
    let references = DelayedReferences(
      geometry: geometry, extentTree: trees.extent, space: space.allocator, checksums: checksums,
      memory: image.memory.references, demand: demand)
    let features = CompressionFeatures()
    let record = try recordKind.makeRecord(
      of: image, space: space, references: references, options: options, log: log)
    let deviceItem = try image.superblock.deviceItem
    let remover = ChunkRemover(
      space: space, record: record, transactions: transactions, device: deviceItem, log: log)
    let discarder: [any CommitParticipant] =
      options.discards
      ? [FreedSpaceDiscarder(groups: space.groups, device: image.device, log: log)] : []
    let committer = Committer(
      transactions: transactions,
      sequence: CommitSequence(
        transactions: transactions, blockCache: image.cache, device: image.device,
        geometry: geometry, superblock: image.superblock,
        participants: discarder + [
          ChunkItems(chunks: space.chunks, trees: trees, device: deviceItem),
          references, BlockGroupItems(groups: space.groups),
          RootItems(trees: trees), record, FreeSpaceRelief(reservations: space.reservations),
          features,
        ], log: log))
    let volume = Volume(
      image: image, space: space, references: references, checksums: checksums, record: record,
      remover: remover, committer: committer, transactions: transactions, features: features,
      options: options, log: log)
    PageMemory.shared.raiseBound(to: image.memory.totalBytes / 16 * 13)

    trees.context.allocator = space.allocator
    trees.context.references = references
    space.loader.source = record
    commitRequests.server = volume.periodicCommit
    return volume
  }
}

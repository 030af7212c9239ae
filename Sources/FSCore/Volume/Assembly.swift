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
    let storage = try StorageParts(image, options, log)
    let files = FileParts(storage)
    let volume = Volume(storage, files, RelocationParts(storage, files))
    PageMemory.shared.raiseBound(to: image.memory.totalBytes / 16 * 13)

    image.trees.context.allocator = storage.space.allocator
    image.trees.context.references = storage.references
    storage.space.loader.source = storage.record
    storage.commitRequests.server = files.periodicCommit
    return volume
  }
}

/// What stands between the opened image and files: space, transactions, the record of free space, and the
/// commit with its participants.
struct StorageParts {
  let image: OpenedImage
  let options: VolumeOptions
  let log: Logger
  let commitRequests: CommitRequests
  let checksums: ChecksumTree
  let space: Space
  let transactions: TransactionManager
  let references: DelayedReferences
  let features: CompressionFeatures
  let record: any FreeSpaceRecord
  let remover: ChunkRemover
  let committer: Committer

  init(
    _ image: OpenedImage, _ options: VolumeOptions, _ log: Logger
  ) throws(FilesystemError) {
    self.image = image
    self.options = options
    self.log = log
    let trees = image.trees
    let geometry = image.geometry
    let demand = SpaceDemand()
    commitRequests = CommitRequests(memory: image.memory)
    checksums = ChecksumTree(tree: trees.checksum, geometry: geometry)
    let recordKind = try SpaceRecordKind(of: image, options)
    space = try Space(
      trees: trees, chunks: image.device.chunks, geometry: geometry,
      superblock: image.superblock, demand: demand, commits: commitRequests,
      isReadOnly: image.readOnlyReason != nil,
      notesChanges: recordKind == .freeSpaceTree && image.readOnlyReason == nil,
      memory: image.memory, log: log)
    transactions = TransactionManager(
      committed: image.superblock.generation, reserver: space.reservations, commits: commitRequests,
      repairs: image.device.repairs, log: log)
    references = DelayedReferences(
      geometry: geometry, extentTree: trees.extent, space: space.allocator, checksums: checksums,
      memory: image.memory.references, demand: demand)
    features = CompressionFeatures()
    record = try recordKind.makeRecord(
      of: image, space: space, references: references, options: options, log: log)
    let deviceItem = try image.superblock.deviceItem
    remover = ChunkRemover(
      space: space, record: record, transactions: transactions, device: deviceItem, log: log)
    let discarder: [any CommitParticipant] =
      options.discards
      ? [FreedSpaceDiscarder(groups: space.groups, device: image.device, log: log)] : []
    committer = Committer(
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
  }
}

/// What can be done with files, by theme, and what goes on beside it.
struct FileParts {
  let workers = WorkerPool()
  let inodes: InodeTable
  let store: FileStore
  let attributes: AttributeOperations
  let orphans: Orphans
  let cleaner: SubvolumeCleaner
  let namespace: Namespace
  let subvolumes: SubvolumeOperations
  let content: FileOperations
  let periodicCommit: PeriodicCommit

  init(_ storage: StorageParts) {
    let (image, options, log) = (storage.image, storage.options, storage.log)
    let (trees, geometry, memory) = (image.trees, image.geometry, image.memory)
    let (space, transactions) = (storage.space, storage.transactions)
    let isReadOnly = image.readOnlyReason != nil
    inodes = InodeTable(
      trees: trees, geometry: geometry, memory: memory.inodes, fileState: FileBuffers.self)
    store = FileStore(
      geometry: geometry, device: image.device, transactions: transactions, space: space,
      references: storage.references, checksums: storage.checksums, workers: workers, log: log,
      memory: memory, compression: options.compression, features: storage.features)
    attributes = AttributeOperations(
      inodes: inodes, files: store, transactions: transactions, geometry: geometry,
      isReadOnly: isReadOnly, features: storage.features, options: options)
    orphans = Orphans(
      inodes: inodes, files: store, trees: trees, transactions: transactions, log: log)
    cleaner = SubvolumeCleaner(
      inodes: inodes, files: store, trees: trees, transactions: transactions,
      references: storage.references, commits: storage.commitRequests, log: log)
    namespace = Namespace(
      inodes: inodes, trees: trees, transactions: transactions, attributes: attributes,
      orphans: orphans, cleaner: cleaner, geometry: geometry,
      rootDirectory: image.rootDirectory, log: log)
    subvolumes = SubvolumeOperations(
      namespace: namespace, inodes: inodes, files: store, trees: trees,
      transactions: transactions, committer: storage.committer, log: log)
    content = FileOperations(
      inodes: inodes, files: store, space: space, transactions: transactions,
      committer: storage.committer, attributes: attributes, geometry: geometry,
      isReadOnly: isReadOnly)
    periodicCommit = PeriodicCommit(
      committer: storage.committer, transactions: transactions, files: store,
      remover: storage.remover, memory: memory, log: log)
  }
}

/// What moves extents and tree blocks: balancing, and making the volume longer or shorter.
struct RelocationParts {
  let balancer: Balancer
  let resizer: Resizer

  init(_ storage: StorageParts, _ files: FileParts) {
    let (image, log) = (storage.image, storage.log)
    let (trees, space, transactions) = (image.trees, storage.space, storage.transactions)
    let emptier = GroupEmptier(
      space: space, record: storage.record, remover: storage.remover,
      committer: storage.committer, transactions: transactions, references: storage.references,
      files: files.store,
      leftovers: LeftoverCaches(
        root: trees.root, references: storage.references, transactions: transactions),
      data: DataMover(
        geometry: image.geometry, space: space, trees: trees, transactions: transactions,
        references: storage.references, checksums: storage.checksums, inodes: files.inodes,
        files: files.store, device: image.device, log: log),
      blocks: BlockMover(
        trees: trees, transactions: transactions, references: storage.references),
      cleaner: files.cleaner, log: log)
    balancer = Balancer(
      emptier: emptier, space: space, root: trees.root, transactions: transactions,
      readOnlyReason: image.readOnlyReason, log: log)
    resizer = Resizer(
      space: space, trees: trees, transactions: transactions, committer: storage.committer,
      emptier: emptier, device: image.device, log: log)
  }
}

import Logging

/// A mounted file system: what all operations are made on. Every operation may come from any
/// thread.
///
/// 1. What `synchronizeAll`, `synchronize` and `unmount` have returned from is durable.
/// 2. Once a commit has failed nothing is written any more, but where it only lacked room on what the
///    image stands on: then it is made up for (`CommitSequence`).
package final class Volume: @unchecked Sendable {
  package let geometry: Geometry
  package let device: LogicalDevice
  package let trees: Trees
  package let transactions: TransactionManager
  package let space: Space
  package let references: DelayedReferences
  package let checksums: ChecksumTree
  package let record: any FreeSpaceRecord
  package let remover: ChunkRemover
  package let committer: Committer
  package let workers: WorkerPool
  package let log: Logger
  package let options: VolumeOptions

  /// Why nothing can be changed; nil on a volume that can be written.
  package let readOnlyReason: String?

  /// The directory that stands at the mount point.
  package let rootDirectory: InodeID

  package let inodes: InodeTable
  package let files: FileStore

  // What can be done with a volume, by theme.

  package let namespace: Namespace
  package let content: FileOperations
  package let attributes: AttributeOperations
  package let orphans: Orphans
  package let subvolumes: SubvolumeOperations
  package let cleaner: SubvolumeCleaner

  package let memory: MemoryBudget
  let periodicCommit: PeriodicCommit
  let balancer: Balancer
  let resizer: Resizer

  package var isReadOnly: Bool { readOnlyReason != nil }

  /// Whether files may be compressed, as far as the image and the mount say: that there are files
  /// compressed with zlib no image says.
  package let mayHaveCompressed: Bool

  init(
    image: OpenedImage, space: Space, references: DelayedReferences,
    checksums: ChecksumTree, record: any FreeSpaceRecord, remover: ChunkRemover,
    committer: Committer,
    transactions: TransactionManager, features: CompressionFeatures, options: VolumeOptions,
    log: Logger
  ) {
    self.remover = remover
    geometry = image.geometry
    device = image.device
    trees = image.trees
    readOnlyReason = image.readOnlyReason
    mayHaveCompressed =
      options.compression != nil
      || !image.superblock.features.isDisjoint(with: [.compressLZO, .compressZSTD])
    rootDirectory = image.rootDirectory
    self.transactions = transactions
    self.space = space
    self.references = references
    self.checksums = checksums
    self.record = record
    self.committer = committer
    self.options = options
    self.log = log
    workers = WorkerPool()
    memory = image.memory
    inodes = InodeTable(
      trees: image.trees, geometry: image.geometry, memory: memory.inodes,
      fileState: FileBuffers.self)
    files = FileStore(
      geometry: image.geometry, device: image.device, transactions: transactions, space: space,
      references: references, checksums: checksums, workers: workers, log: log,
      memory: memory, compression: options.compression, features: features)
    attributes = AttributeOperations(
      inodes: inodes, files: files, transactions: transactions, geometry: geometry,
      isReadOnly: image.readOnlyReason != nil, features: features, options: options)
    orphans = Orphans(
      inodes: inodes, files: files, trees: trees, transactions: transactions, log: log)
    cleaner = SubvolumeCleaner(
      inodes: inodes, files: files, trees: trees, transactions: transactions,
      references: references, commits: space.reservations.commits, log: log)
    namespace = Namespace(
      inodes: inodes, trees: trees, transactions: transactions, attributes: attributes,
      orphans: orphans, cleaner: cleaner, geometry: geometry,
      rootDirectory: image.rootDirectory, log: log)
    subvolumes = SubvolumeOperations(
      namespace: namespace, inodes: inodes, files: files, trees: trees,
      transactions: transactions, committer: committer, log: log)
    content = FileOperations(
      inodes: inodes, files: files, space: space, transactions: transactions,
      committer: committer, attributes: attributes, geometry: geometry,
      isReadOnly: image.readOnlyReason != nil)
    periodicCommit = PeriodicCommit(
      committer: committer, transactions: transactions, files: files, remover: remover,
      memory: memory, log: log)
    let emptier = GroupEmptier(
      space: space, record: record, remover: remover, committer: committer,
      transactions: transactions, references: references, files: files,
      leftovers: LeftoverCaches(
        root: trees.root, references: references, transactions: transactions),
      data: DataMover(
        geometry: geometry, space: space, trees: trees, transactions: transactions,
        references: references, checksums: checksums, inodes: inodes, files: files,
        device: device, log: log),
      blocks: BlockMover(trees: trees, transactions: transactions, references: references),
      cleaner: cleaner, log: log)
    balancer = Balancer(
      emptier: emptier, space: space, root: trees.root, transactions: transactions,
      readOnlyReason: image.readOnlyReason, log: log)
    resizer = Resizer(
      space: space, trees: trees, transactions: transactions, committer: committer,
      emptier: emptier, device: device, log: log)
  }

  deinit {
    periodicCommit.requestStop()
    cleaner.requestStop()
  }

  /// The time that an operation stamps on what it changes.
  package func now() -> Timestamp { .now }

}

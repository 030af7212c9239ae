import Logging

/// A mounted file system: what all operations are made on. Every operation may come from any
/// thread.
///
/// 1. What `synchronizeAll`, `synchronize` and `unmount` have returned from is durable.
/// 2. On the device the last commit is whole at every moment: nothing that its superblock leads
///    to is overwritten before the next superblock is durable.
/// 3. Once a commit has failed nothing is written any more.
package final class Volume: @unchecked Sendable {
  package let geometry: Geometry
  package let device: LogicalDevice
  package let trees: Trees
  package let transactions: TransactionManager
  package let space: SpaceManager
  package let references: DelayedReferences
  package let checksums: ChecksumTree
  package let cacheWriter: CacheWriter
  package let workers: WorkerPool
  package let log: Logger
  package let options: VolumeOptions

  /// Why nothing can be changed; nil on a volume that can be written.
  package let readOnlyReason: String?

  /// The directory that stands at the mount point.
  package let rootDirectory: InodeID

  package let inodes: InodeTable
  package let files: FileStore

  package let memory: MemoryBudget
  let blockCache: TreeBlockCache
  let superblock: Guarded<Superblock>
  let commitTurn = Guarded(CommitTurn(), rank: .commit)
  let periodic = Guarded(PeriodicState(), rank: .leaf)
  var periodicThread: BackgroundThread?

  struct PeriodicState {
    var mustStop = false
    /// The budget wants a commit.
    var isMemoryShort = false
  }

  package var isReadOnly: Bool { readOnlyReason != nil }

  init(
    image: OpenedImage, space: SpaceManager, references: DelayedReferences,
    checksums: ChecksumTree, cacheWriter: CacheWriter, transactions: TransactionManager,
    options: VolumeOptions, log: Logger
  ) {
    geometry = image.geometry
    device = image.device
    trees = image.trees
    blockCache = image.cache
    superblock = Guarded(image.superblock, rank: .leaf)
    readOnlyReason = image.readOnlyReason
    rootDirectory = image.rootDirectory
    self.transactions = transactions
    self.space = space
    self.references = references
    self.checksums = checksums
    self.cacheWriter = cacheWriter
    self.options = options
    self.log = log
    workers = WorkerPool()
    memory = image.memory
    inodes = InodeTable(
      trees: image.trees, geometry: image.geometry, memory: memory.inodes,
      makeFileState: { FileStore.makeState() })
    files = FileStore(
      geometry: image.geometry, device: image.device, transactions: transactions, space: space,
      references: references, checksums: checksums, workers: workers, log: log,
      isReadOnly: image.readOnlyReason != nil, memory: memory)
  }

  /// The time that an operation stamps on what it changes.
  package func now() -> Timestamp { .now }

  /// Throws unless the volume can be changed.
  package func requireWritable() throws(FilesystemError) {
    if let readOnlyReason { throw .readOnly(readOnlyReason) }
    if let refusal = transactions.refusal { throw refusal }
  }
}

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

  /// Keeps what `assemble` has made.
  init(_ storage: StorageParts, _ files: FileParts, _ relocation: RelocationParts) {
    let image = storage.image
    geometry = image.geometry
    device = image.device
    trees = image.trees
    memory = image.memory
    readOnlyReason = image.readOnlyReason
    rootDirectory = image.rootDirectory
    mayHaveCompressed =
      storage.options.compression != nil
      || !image.superblock.features.isDisjoint(with: [.compressLZO, .compressZSTD])
    options = storage.options
    log = storage.log
    transactions = storage.transactions
    space = storage.space
    references = storage.references
    checksums = storage.checksums
    record = storage.record
    remover = storage.remover
    committer = storage.committer
    workers = files.workers
    inodes = files.inodes
    self.files = files.store
    attributes = files.attributes
    orphans = files.orphans
    cleaner = files.cleaner
    namespace = files.namespace
    subvolumes = files.subvolumes
    content = files.content
    periodicCommit = files.periodicCommit
    balancer = relocation.balancer
    resizer = relocation.resizer
  }

  deinit {
    periodicCommit.requestStop()
    cleaner.requestStop()
  }

  /// The time that an operation stamps on what it changes.
  package func now() -> Timestamp { .now }

}

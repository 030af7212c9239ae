import Logging

/// The content of regular files: reading, buffering what is written, writing it back, cutting,
/// preallocating. What all files of a volume share for that is here; what one file has is in its
/// `FileBuffers`.
///
/// 1. Written bytes are buffered by sectors and reach the device later, all of a file's that were
///    buffered before a flush by the time it returns. No whole file is in memory; `budget`
///    bounds the sum.
/// 2. Data are never overwritten where they stand, but written to new space, or into
///    preallocated space that nobody else refers to. File extents, checksums and the size on disk
///    follow in one transaction after the device has the data (`OrderedExtent`), so that a crash
///    shows old bytes or new, never others. Files without copy on write (chattr +C) are the
///    exception: data of theirs that nobody else refers to are overwritten.
/// 3. A file has one batch of ordered extents under way at a time: a later one cannot overtake
///    it. Many files are written back in parallel.
/// 4. Extents of a file change with its `content` lock held exclusively. It is held shared while
///    bytes are read from the device, so that space which is freed and used again meanwhile is
///    never taken for the file's. It is not held while they are written.
/// 5. `content` ranks below the transaction gate and write-back takes it, so nobody waits for
///    write-back, for room in the budget or for a commit while holding it. Holding an inode's
///    `lock` while waiting is fine: write-back does not take that.
///
/// Clean data are not kept: the kernel's page cache above us has them. But for a few
/// decompressed extents, as their sectors are mostly asked for one after the other.
package final class FileStore: Sendable {
  let geometry: Geometry
  let device: LogicalDevice
  let transactions: TransactionManager
  let space: SpaceManager
  let references: DelayedReferences
  let checksums: ChecksumTree
  let workers: WorkerPool
  let log: Logger
  let isReadOnly: Bool
  let now: @Sendable () -> Timestamp

  /// What guards the passes of some inodes.
  struct Stripe {
    /// Of all its inodes.
    var endedPasses: UInt64 = 0
  }

  let budget: DirtyBudget
  let dirtyFiles = DirtyFiles()
  let decompressed = DecompressedExtents(capacity: 16)
  private let stripes: [Guarded<Stripe>]
  /// The first error of a write-back that nobody who synchronizes the volume was told of.
  let lostData = Guarded<FilesystemError?>(nil, rank: .leaf)

  package init(
    geometry: Geometry, device: LogicalDevice, transactions: TransactionManager,
    space: SpaceManager, references: DelayedReferences, checksums: ChecksumTree,
    workers: WorkerPool, log: Logger, isReadOnly: Bool, memory: MemoryBudget,
    now: @escaping @Sendable () -> Timestamp
  ) {
    self.geometry = geometry
    self.device = device
    self.transactions = transactions
    self.space = space
    self.references = references
    self.checksums = checksums
    self.workers = workers
    self.log = log
    self.isReadOnly = isReadOnly
    self.now = now
    budget = DirtyBudget(memory: memory)
    stripes = (0..<64).map { _ in Guarded(Stripe(), rank: .fileBuffer) }
    space.bufferedPieces = { [budget] in budget.pieces }
  }

  /// What guards `passes` of this inode's buffers. Shared by many inodes, as few have any.
  func stripe(of inode: Inode) -> Guarded<Stripe> {
    stripes[Int(truncatingIfNeeded: inode.number.rawValue % UInt64(stripes.count))]
  }

  var sectorSize: UInt64 { geometry.sectorSize }
  var sectorBytes: Int { Int(geometry.sectorSize) }

  /// Bytes that are buffered in memory.
  package var bufferedBytes: Int { budget.used }

  /// The largest content that is stored in the file's item. The limit is Linux's; the format
  /// allows a little more.
  var longestInline: UInt64 {
    let inItem = UInt64(geometry.maximumItemSize - FileExtentItem.inlineHeaderSize)
    return min(2048, sectorSize - 1, inItem)
  }

  /// No byte of a file stands beyond.
  static let largestSize = UInt64(Int64.max)
}

extension Inode {
  /// The size of the file; no more than the largest, whatever the image says.
  var fileSize: UInt64 { item.withLock { min($0.size, FileStore.largestSize) } }

  /// Whether the file's data have no checksums.
  var hasUncheckedData: Bool { item.withLock { $0.flags.contains(.noDataSum) } }

  /// Whether the file's data are overwritten where they stand, as far as nobody shares them. It
  /// is so for new files alone, and checksums could not follow.
  var isOverwritten: Bool {
    item.withLock { $0.flags.isSuperset(of: [.noDataCow, .noDataSum]) }
  }

  /// How many buffered bytes have no space yet, about: those that make the file longer. `nbytes`
  /// does not have them, but `stat` is to count them.
  var bytesWithoutSpace: UInt64 {
    let buffered = UInt64(max(0, file.bufferedBytes))
    guard buffered > 0 else { return 0 }
    let unit = subvolume.geometry.sectorSize
    return item.withLock { item in
      let end = min(item.size, FileStore.largestSize).roundedUp(to: unit)
      return min(buffered, end - min(end, diskSize.roundedUp(to: unit)))
    }
  }

  func extentKey(_ offset: UInt64) -> Key { Key(number, .extentData, offset) }
}

import Logging

/// The content of regular files: what the layers above call, and the one place where the parts of
/// this layer are put together.
///
/// 1. Written bytes are buffered (`WriteBuffer`) and reach the device later (`WriteBack`).
/// 2. Data are never overwritten where they stand, but written to new space, or into
///    preallocated space that nobody else refers to. File extents, checksums and the size on disk
///    follow in one transaction after the device has the data (`OrderedWrite`), so that a crash
///    shows old bytes or new, never others. Files without copy on write (chattr +C) are the
///    exception: data of theirs that nobody else refers to are overwritten (`OverwriteRule`).
/// 3. Extents of a file change with its `content` lock held exclusively. It is held shared while
///    bytes are read from the device, so that space which is freed and used again meanwhile is
///    never taken for the file's. It is not held while they are written.
package final class FileStore: Sendable {
  let buffer: WriteBuffer
  let writeBack: WriteBack
  let orderedWrite: OrderedWrite
  let failures: WriteFailures
  private let reader: FileReader
  private let decompressed: DecompressedExtents
  private let writer: FileWriter
  private let seeker: FileSeeker
  private let truncation: Truncation
  private let holePuncher: HolePuncher
  private let preallocator: Preallocator
  private let copier: RangeCopier

  package init(
    geometry: Geometry, device: LogicalDevice, transactions: TransactionManager,
    space: Space, references: DelayedReferences, checksums: ChecksumTree,
    workers: WorkerPool, log: Logger, memory: MemoryBudget,
    compression: CompressionChoice?, features: CompressionFeatures
  ) {
    failures = WriteFailures(log: log)
    decompressed = DecompressedExtents(capacity: 16)
    let contexts = CodecContexts(capacity: 2 * WorkerPool.processorCount + 2)
    let policy = CompressionPolicy(mount: compression)
    reader = FileReader(
      geometry: geometry,
      data: DataReader(
        geometry: geometry, device: device, checksums: checksums, log: log),
      decompressed: decompressed, contexts: contexts, workers: workers)
    seeker = FileSeeker(geometry: geometry)

    let overwrites = OverwriteRule(
      geometry: geometry, references: references, checksums: checksums)
    buffer = WriteBuffer(
      geometry: geometry, space: space, reader: reader, overwrites: overwrites, memory: memory)
    let editor = FileExtentEditor(geometry: geometry, references: references)
    let sizes = FileSizeEditor(transactions: transactions, editor: editor, failures: failures)

    let place = PlaceStage(geometry: geometry, space: space, decompressed: decompressed)
    orderedWrite = OrderedWrite(
      cut: CutStage(geometry: geometry, overwrites: overwrites),
      encoder: CompressingEncoder(
        geometry: geometry, policy: policy, contexts: contexts, workers: workers),
      place: place,
      transfer: TransferStage(geometry: geometry, device: device),
      complete: CompleteStage(
        geometry: geometry, transactions: transactions, checksums: checksums, editor: editor,
        sizes: sizes, place: place, buffer: buffer, failures: failures, features: features),
      transactions: transactions, failures: failures)
    let inline = InlineWriter(
      geometry: geometry, transactions: transactions, buffer: buffer, editor: editor,
      failures: failures, policy: policy, contexts: contexts, features: features)
    writeBack = WriteBack(
      workers: workers, buffer: buffer, inline: inline, orderedWrite: orderedWrite)

    writer = FileWriter(buffer: buffer, writeBack: writeBack)
    truncation = Truncation(
      geometry: geometry, transactions: transactions, buffer: buffer, editor: editor,
      writeBack: writeBack)
    holePuncher = HolePuncher(
      geometry: geometry, transactions: transactions, buffer: buffer, editor: editor,
      sizes: sizes, writeBack: writeBack)
    preallocator = Preallocator(
      geometry: geometry, transactions: transactions, space: space, decompressed: decompressed,
      buffer: buffer, editor: editor, sizes: sizes, writeBack: writeBack)
    copier = RangeCopier(
      geometry: geometry, reader: reader, writer: writer,
      cloner: FileCloner(
        geometry: geometry, transactions: transactions, buffer: buffer, editor: editor,
        writeBack: writeBack, failures: failures),
      writeBack: writeBack, failures: failures)
  }

  /// Bytes that are buffered in memory.
  package var bufferedBytes: Int { buffer.budget.used }

  // Reading and writing.

  /// A write is no longer.
  package static var longestWrite: Int { FileWriter.longestWrite }

  package func read(
    _ inode: Inode, at offset: UInt64, into target: UnsafeMutableRawBufferPointer
  ) throws(FilesystemError) -> Int {
    try reader.read(inode, at: offset, into: target)
  }

  func readWhole(
    _ inode: Inode, into target: UnsafeMutableRawBufferPointer, _ body: (Int) -> Void
  ) throws(FilesystemError) -> Bool {
    try reader.readWhole(inode, into: target, body)
  }

  package func write(
    _ inode: Inode, at offset: UInt64, _ bytes: UnsafeRawBufferPointer, isPatient: Bool = true
  ) throws(FilesystemError) {
    try writer.write(inode, at: offset, bytes, isPatient: isPatient)
  }

  package func seek(
    _ inode: Inode, from offset: UInt64, _ target: SeekTarget
  ) throws(FilesystemError) -> UInt64 {
    try seeker.seek(inode, from: offset, target)
  }

  // Size and space.

  package func changeSize(of inode: Inode, to size: UInt64) throws(FilesystemError) {
    try truncation.changeSize(of: inode, to: size)
  }

  package func deleteContent(of inode: Inode) throws(FilesystemError) {
    try truncation.deleteContent(of: inode)
  }

  package func preallocate(
    _ inode: Inode, at offset: UInt64, length: UInt64, keepSize: Bool
  ) throws(FilesystemError) {
    try preallocator.preallocate(inode, at: offset, length: length, keepSize: keepSize)
  }

  package func zeroRange(
    _ inode: Inode, at offset: UInt64, length: UInt64, keepSize: Bool
  ) throws(FilesystemError) {
    try preallocator.zeroRange(inode, at: offset, length: length, keepSize: keepSize)
  }

  package func punchHole(
    _ inode: Inode, at offset: UInt64, length: UInt64
  ) throws(FilesystemError) {
    try holePuncher.punchHole(inode, at: offset, length: length)
  }

  /// Copies a range of a file into another, or into another part of its own: by sharing extents as
  /// far as that goes. Returns how many bytes were done.
  ///
  /// - Parameter sourceSize: where the source is taken to end, if that is the same file and it has grown.
  /// - Parameter knownFailures: of the source; later ones are thrown.
  func copy(
    _ source: Inode, _ target: Inode, _ range: CopiedRange, sourceSize: UInt64? = nil,
    knownFailures: UInt64
  ) throws(FilesystemError) -> UInt64 {
    try copier.copy(
      source, target, range, sourceSize: sourceSize, knownFailures: knownFailures)
  }

  /// Space was allocated for data by somebody else: what stood there before is not the same any more.
  /// Called before anything is written there.
  package func didAllocate(_ address: LogicalAddress, length: UInt64) {
    decompressed.drop(address, length: length)
  }

  // Write-back.

  package func flush(_ inode: Inode) { writeBack.flush(inode) }

  /// Begins to write back all that is buffered. May be called with locks up to rank `fileContent` held.
  package func startWriteBack() {
    for inode in buffer.dirtyFiles.all { writeBack.start(of: inode) }
  }

  /// Writes back all that is buffered of a subvolume's files, as `flushAll`. Throws when some of that
  /// is lost; whoever synchronizes the file is told of it as well.
  package func flush(_ subvolume: TreeID) throws(FilesystemError) {
    let failed = writeBack.flushAll { $0.tree == subvolume }
    if let first = failed.first, let failure = failures.last(of: first) { throw failure }
  }

  package func flushAll() { writeBack.flushAll() }

  package func throwFailure(
    of inode: Inode, to reader: FailureReader?, isReport: Bool
  ) throws(FilesystemError) {
    try failures.check(inode, for: reader, isReport: isReport)
  }

  package func reportLostData() throws(FilesystemError) { try failures.reportLoss() }
}

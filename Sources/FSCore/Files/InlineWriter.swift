/// Writes small files, whose content stands in their extent item.
///
/// Compressed content of a whole sector may stand there, too, if that is short enough. What does not
/// become shorter is stored as it is, and nothing follows from it for the file: so little says
/// nothing of what it may hold later.
struct InlineWriter: Sendable {
  let geometry: Geometry
  let transactions: TransactionManager
  let buffer: WriteBuffer
  let editor: FileExtentEditor
  let failures: WriteFailures
  let policy: CompressionPolicy
  let contexts: CodecContexts
  let features: CompressionFeatures

  private var sectorSize: UInt64 { geometry.sectorSize }

  /// The largest content that is stored in the file's item. The limit is Linux's; the format
  /// allows a little more.
  private var longest: UInt64 {
    let inItem = UInt64(geometry.maximumItemSize - FileExtentItem.inlineHeaderSize)
    return min(2048, sectorSize - 1, inItem)
  }

  /// The form in which the content stands in an item.
  private enum Stored {
    case plain
    case compressed(FileExtentItem.Compression, [UInt8])
  }

  /// Writes the buffered bytes of a file into its item, when all of it fits there. False when it
  /// does not. `content` is held exclusively: nothing can make the file grow between the
  /// decision and its end, and there is no IO to wait for.
  func write(_ inode: Inode) -> Bool {
    inode.content.assertHeldExclusively()
    do throws(FilesystemError) {
      let size = inode.fileSize
      guard size > 0, size <= sectorSize else { return false }
      let plan = policy.plan(for: inode)
      guard plan != nil || size <= longest,
        let replaced = try replaced(inode, size: size),
        let stored = stored(inode, size: size, by: plan)
      else { return false }
      try store(stored, inode, size: size, replaced)
    } catch {
      failures.record(error, of: inode)
      dropFirstSector(inode)
      return true
    }
    dropFirstSector(inode)
    return true
  }

  /// The extents that an inline one would replace; nil when there must not be one.
  private func replaced(
    _ inode: Inode, size: UInt64
  ) throws(FilesystemError) -> [FileExtent]? {
    let buffers = inode.file
    guard !buffers.forbidsInline, buffers.writing.isEmpty,
      buffers.dirty.count == 1, let cell = buffers.dirty[0], cell.sectors == 1
    else { return nil }

    let found = try inode.extents(in: 0..<UInt64.max, atMost: 2)
    guard found.count < 2 else { return nil }
    guard let only = found.first else { return found }
    guard only.start == 0, only.end(sectorSize) <= sectorSize, !only.isPreallocated else {
      return nil
    }
    return found
  }

  private func content(_ inode: Inode, size: UInt64) -> UnsafeRawBufferPointer? {
    inode.file.dirty[0].map { UnsafeRawBufferPointer($0.bytes(0..<1)).part(0, Int(size)) }
  }

  /// In which form the content goes into the item; nil when it is too long.
  private func stored(_ inode: Inode, size: UInt64, by plan: CompressionPlan?) -> Stored? {
    if let plan, let content = content(inode, size: size),
      plan.isForced || CompressionOutlook.isGood(content), size > 1
    {
      let room = Int(min(longest, size - 1))
      let bytes = [UInt8](unsafeUninitializedCapacity: room) { output, count in
        count =
          contexts.with { context in
            Compressor.compress(
              plan.method, content, into: UnsafeMutableRawBufferPointer(output),
              sectorSize: geometry.sectorBytes, context)
          } ?? 0
      }
      if !bytes.isEmpty { return .compressed(plan.method.algorithm, bytes) }
    }
    return size <= longest ? .plain : nil
  }

  private func store(
    _ stored: Stored, _ inode: Inode, size: UInt64, _ replaced: [FileExtent]
  ) throws(FilesystemError) {
    do throws(FilesystemError) {
      try store(stored, inode, size: size, replaced, for: .opportune)
    } catch .noSpace where transactions.failure == nil {
      try store(stored, inode, size: size, replaced, for: .acceptedData)
    }
  }

  private func store(
    _ stored: Stored, _ inode: Inode, size: UInt64, _ replaced: [FileExtent],
    for purpose: MetadataPurpose
  ) throws(FilesystemError) {
    guard let content = content(inode, size: size) else { return }
    try transactions.perform(reserving: 4, for: purpose) {
      (handle) throws(FilesystemError) in
      handle.noteChange()
      try editor.drop(replaced, 0..<sectorSize, of: inode, in: handle)
      switch stored {
      case .plain:
        try editor.insertInline(content, of: size, .none, inode, in: handle)
      case .compressed(let algorithm, let bytes):
        features.note(algorithm)
        try bytes.withUnsafeBytesThrowing { (bytes) throws(FilesystemError) in
          try editor.insertInline(bytes, of: size, algorithm, inode, in: handle)
        }
      }
      inode.item.withLock { inode.diskSize = $0.size }
      try inode.writeItem(in: handle)
    }
  }

  private func dropFirstSector(_ inode: Inode) {
    buffer.discard(inode, from: 0)
  }
}

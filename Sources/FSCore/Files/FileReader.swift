/// Reads files: buffered bytes from memory, the others from the device, decompressed.
///
/// 1. The inode's `content` is held meanwhile, so that space which is freed and used anew is never
///    taken for the file's.
/// 2. Compressed extents of one request are read and decompressed by several threads (`SharedWork`),
///    and what is wanted whole straight to where it is wanted.
struct FileReader: Sendable {
  let geometry: Geometry
  let data: DataReader
  /// Clean data are not kept: the kernel's page cache above us has them. But for these, as sectors
  /// of a compressed extent are mostly asked for one after the other.
  let decompressed: DecompressedExtents
  let contexts: CodecContexts
  let workers: WorkerPool

  private var sectorSize: UInt64 { geometry.sectorSize }
  private var sectorBytes: Int { geometry.sectorBytes }

  /// Reads from `offset` on; returns how many bytes there are before the end of the file.
  /// `target` may be overwritten beyond them. Takes the inode's `content`.
  ///
  /// Throws when any byte cannot be had: a short answer would be taken for the end of the file.
  func read(
    _ inode: Inode, at offset: UInt64, into target: UnsafeMutableRawBufferPointer
  ) throws(FilesystemError) -> Int {
    try inode.content.shared { () throws(FilesystemError) in
      let size = inode.fileSize
      guard offset < size, !target.isEmpty else { return 0 }
      let count = Int(min(UInt64(target.count), size - offset))
      try readBytes(inode, offset..<(offset + UInt64(count)), into: target)
      return count
    }
  }

  /// Reads the whole content of a file that has any, and no more than `target` has space for;
  /// passes how many bytes these are to `body`, with `content` held. Returns whether it did so.
  func readWhole(
    _ inode: Inode, into target: UnsafeMutableRawBufferPointer, _ body: (Int) -> Void
  ) throws(FilesystemError) -> Bool {
    try inode.content.shared { () throws(FilesystemError) in
      let size = inode.fileSize
      guard size > 0, size <= UInt64(target.count) else { return false }
      try readBytes(inode, 0..<size, into: target)
      body(Int(size))
      return true
    }
  }

  /// Reads any range: whole sectors straight into `target`, the rest by way of a buffer.
  private func readBytes(
    _ inode: Inode, _ range: Range<UInt64>, into target: UnsafeMutableRawBufferPointer
  ) throws(FilesystemError) {
    let outer = geometry.sectors(around: range)
    let outerCount = Int(outer.upperBound - outer.lowerBound)

    if outer.lowerBound == range.lowerBound && outerCount <= target.count {
      return try readSectors(inode, at: outer.lowerBound, into: target.part(0, outerCount))
    }
    if outerCount <= 8 * sectorBytes {
      return try readThroughBuffer(inode, range, into: target)
    }

    let middleStart = range.lowerBound.roundedUp(to: sectorSize)
    let middleEnd = range.upperBound.roundedDown(to: sectorSize)
    let head = Int(middleStart - range.lowerBound)
    let middle = Int(middleEnd - middleStart)
    let tail = Int(range.upperBound - middleEnd)
    if head > 0 {
      try readThroughBuffer(inode, range.lowerBound..<middleStart, into: target.part(0, head))
    }
    try readSectors(inode, at: middleStart, into: target.part(head, middle))
    if tail > 0 {
      try readThroughBuffer(
        inode, middleEnd..<range.upperBound, into: target.part(head + middle, tail))
    }
  }

  private func readThroughBuffer(
    _ inode: Inode, _ range: Range<UInt64>, into target: UnsafeMutableRawBufferPointer
  ) throws(FilesystemError) {
    let outer = geometry.sectors(around: range)
    let buffer = AlignedBuffer(count: Int(outer.upperBound - outer.lowerBound))
    try readSectors(inode, at: outer.lowerBound, into: buffer.bytes)
    let skipped = Int(range.lowerBound - outer.lowerBound)
    let count = Int(range.upperBound - range.lowerBound)
    target.store(buffer.readable.part(skipped, count), at: 0)
  }

  /// Reads whole sectors, buffered bytes included. `content` is held.
  func readSectors(
    _ inode: Inode, at start: UInt64, into target: UnsafeMutableRawBufferPointer
  ) throws(FilesystemError) {
    inode.content.assertHeld()
    let end = start + UInt64(target.count)
    let buffers = inode.file
    if buffers.isEmpty { return try readStored(inode, start..<end, into: target) }

    // Sectors that are buffered are not read: what they replace may be damaged.
    var position = start
    while position < end {
      if let bytes = buffers.bytes(at: position, end: end) {
        target.store(UnsafeRawBufferPointer(bytes), at: Int(position - start))
        position += UInt64(bytes.count)
        continue
      }
      let next = min(buffers.firstBuffered(from: position) ?? end, end)
      try readStored(
        inode, position..<next,
        into: target.part(Int(position - start), Int(next - position)))
      position = next
    }
  }

  /// Reads whole sectors from the device. `content` is held.
  func readStored(
    _ inode: Inode, _ range: Range<UInt64>, into target: UnsafeMutableRawBufferPointer
  ) throws(FilesystemError) {
    inode.content.assertHeld()
    try data.device.reuse.reading { () throws(FilesystemError) in
      try readGuarded(inode, range, into: target)
    }
  }

  private func readGuarded(
    _ inode: Inode, _ range: Range<UInt64>, into target: UnsafeMutableRawBufferPointer
  ) throws(FilesystemError) {
    // Asked first: what is found after that may be newer, never older.
    let changeCount = inode.tree.changeCount
    if let known = inode.knownExtent(of: range, changeCount) {
      return try data.read(
        at: known.address, into: target, isChecked: known.isChecked,
        FilePosition(inode: inode.id, offset: range.lowerBound))
    }

    let extents = try inode.extents(in: range)
    if extents.count == 1 { inode.remember(extents[0], changeCount) }
    var position = range.lowerBound
    var compressed: [[CompressedPart]] = []
    for extent in extents {
      let start = max(extent.start, position)
      let end = min(extent.end(sectorSize), range.upperBound)
      guard start < end else { continue }
      if start > position {
        target.part(Int(position - range.lowerBound), Int(start - position)).zero()
      }
      let part = target.part(Int(start - range.lowerBound), Int(end - start))
      if extent.hasData, !extent.isInline, extent.item.compression != .none {
        let part = CompressedPart(extent: extent, start: start, target: part)
        // Pieces of one extent have it decompressed once.
        if compressed.last?.first?.extent.item.diskAddress == extent.item.diskAddress {
          compressed[compressed.count - 1].append(part)
        } else {
          compressed.append([part])
        }
      } else {
        try read(extent, start..<end, of: inode, into: part)
      }
      position = end
    }
    if !compressed.isEmpty { try readCompressed(compressed, of: inode) }
    if position < range.upperBound {
      target.part(Int(position - range.lowerBound), Int(range.upperBound - position)).zero()
    }
  }

  /// Reads `range`, which lies in `extent`.
  private func read(
    _ extent: FileExtent, _ range: Range<UInt64>, of inode: Inode,
    into target: UnsafeMutableRawBufferPointer
  ) throws(FilesystemError) {
    guard extent.hasData else { return target.zero() }
    if extent.isInline { return try readInline(extent, range, into: target) }

    let file = FilePosition(inode: inode.id, offset: range.lowerBound)
    try data.read(
      at: extent.address(of: range.lowerBound), into: target,
      isChecked: !inode.hasUncheckedData, file)
  }

  /// Reads parts of compressed extents, by extents. `content` is held.
  private func readCompressed(
    _ parts: [[CompressedPart]], of inode: Inode
  ) throws(FilesystemError) {
    let steps = ReadSteps(
      parts: parts,
      reader: CompressedReader(
        data: data, decompressed: decompressed, contexts: contexts, inode: inode.id,
        isChecked: !inode.hasUncheckedData))
    if parts.count == 1 {
      if let failure = steps.perform(0) { throw failure }
      return
    }
    let work = SharedWork(steps, count: parts.count, window: parts.count, workers: workers)
    defer { work.end() }
    for _ in parts {
      if let failure = work.take() { throw failure }
    }
  }

  private func readInline(
    _ extent: FileExtent, _ range: Range<UInt64>, into target: UnsafeMutableRawBufferPointer
  ) throws(FilesystemError) {
    let content = try inlineContent(of: extent)
    let offset = Int(range.lowerBound - extent.start)
    let count = max(0, min(content.count - offset, target.count))
    content.withUnsafeBytes { bytes in
      if count > 0 { target.store(bytes.part(offset, count), at: 0) }
    }
    target.part(count, target.count - count).zero()
  }

  /// The bytes of an inline extent, decompressed.
  func inlineContent(of extent: FileExtent) throws(FilesystemError) -> [UInt8] {
    guard extent.item.compression != .none else { return extent.inlineBytes }
    // Linux writes no more than a sector; the leaf's check allows what a compressed extent may be.
    let output = AlignedBuffer(
      count: Int(min(extent.item.ramBytes, Format.longestCompressedExtent)))
    let isWhole = extent.inlineBytes.withUnsafeBytes { input in
      contexts.with { context in
        Decompression.decompress(
          extent.item.compression, input, into: output.bytes, sectorSize: sectorBytes, context)
      }
    }
    guard isWhole else {
      throw .corrupt("an inline extent of \(extent.item.compression.name) that is damaged")
    }
    return [UInt8](output.bytes)
  }
}

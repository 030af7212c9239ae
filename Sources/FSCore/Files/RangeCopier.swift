/// Copies ranges of files into others: clones what can be shared, and copies the rest as data.
///
/// 1. The `lock` of both inodes is held exclusively. The source may still be read.
/// 2. Whole sectors are cloned (`FileCloner`) where both ranges begin at the same place within a
///    sector, and both files have checksums or neither has. All else is read and written, and so are
///    inline extents, unless the target can have them as they are.
/// 3. One call does a bounded amount of work, and says how far it has come.
/// 4. An error passes only while nothing is done. Later it ends the call, which says what was done.
struct RangeCopier: Sendable {
  /// Items that are changed by one call, about.
  static let mostItems = 16384
  /// Bytes that are read and written by one call.
  static let mostBytes = 8 << 20

  let geometry: Geometry
  let reader: FileReader
  let writer: FileWriter
  let cloner: FileCloner
  let writeBack: WriteBack
  let failures: WriteFailures

  private var sectorSize: UInt64 { geometry.sectorSize }

  /// Copies what there is of `range` before the end of the source, and returns how many bytes were
  /// done: 0 at the end of the source only.
  ///
  /// - Parameter sourceSize: how long the source was before the request began, of which this may be a
  ///   part: in one file the parts before have made it longer.
  /// - Parameter knownFailures: how many failures to write back the source had before anything of it was
  ///   written back for this. What was lost since must not go on as if it were what the file holds.
  func copy(
    _ source: Inode, _ target: Inode, _ range: CopiedRange, sourceSize: UInt64?,
    knownFailures: UInt64
  ) throws(FilesystemError) -> UInt64 {
    source.lock.assertHeldExclusively()
    target.lock.assertHeldExclusively()
    writeBack.flush(source)
    if source.file.failures > knownFailures, let failure = failures.last(of: source) {
      throw failure
    }
    if target !== source { writeBack.flush(target) }

    let size = source.fileSize
    guard range.from < size else { return 0 }
    let range = range.prefix(size - range.from)
    let end = source === target ? sourceSize ?? size : size
    let isAtEnd = range.sourceEnd == end && range.targetEnd >= target.fileSize
    var work = Work(
      range: range, canShare: canShare(source, target, range), sharesTail: isAtEnd)
    do throws(FilesystemError) {
      while work.mustGoOn { try step(source, target, &work) }
    } catch {
      if work.done == 0 { throw error }
    }
    return work.done
  }

  /// Whether sectors of the range can be shared.
  private func canShare(_ source: Inode, _ target: Inode, _ range: CopiedRange) -> Bool {
    source.hasUncheckedData == target.hasUncheckedData
      && range.from % sectorSize == range.to % sectorSize
  }

  private struct Work {
    let range: CopiedRange
    /// Whether sectors of it can be shared.
    let canShare: Bool
    /// Whether the last sector is shared though the range ends within it: at the end of the source, and
    /// the target does not go on behind it. Found out before the first change: where both are one file
    /// its end moves.
    let sharesTail: Bool
    var done: UInt64 = 0
    var copiedBytes = 0
    var clonedItems = 0
    /// Whether the target takes extents, with nothing buffered in the way.
    var isPrepared = false

    var rest: CopiedRange { range.dropping(done) }
    var mustGoOn: Bool {
      done < range.length && copiedBytes < RangeCopier.mostBytes
        && clonedItems < RangeCopier.mostItems
    }
  }

  private func step(
    _ source: Inode, _ target: Inode, _ work: inout Work
  ) throws(FilesystemError) {
    let rest = work.rest
    guard work.canShare else {
      return try copyBytes(source, target, rest.prefix(UInt64(FileStore.longestWrite)), &work)
    }
    let beyond = rest.from % sectorSize
    if beyond > 0 { return try copyBytes(source, target, rest.prefix(sectorSize - beyond), &work) }

    let whole = work.sharesTail ? rest.length : rest.length.roundedDown(to: sectorSize)
    guard whole > 0 else { return try copyBytes(source, target, rest, &work) }
    if let inline = try cloner.inlineExtent(of: source, at: rest.from) {
      if rest.from == 0, rest.to == 0, whole == inline.item.length, whole <= sectorSize,
        source.fileSize == whole,
        try cloner.cloneInline(inline, target)
      {
        work.done += whole
        return
      }
      return try copyBytes(source, target, rest.prefix(sectorSize), &work)
    }
    if !work.isPrepared {
      try cloner.prepare(target, for: rest.prefix(whole))
      work.isPrepared = true
    }
    let (bytes, items) = try cloner.step(source, target, rest.prefix(whole))
    work.done += bytes
    work.clonedItems += 1 + items
  }

  /// Reads and writes `range`, no more than one write may have.
  private func copyBytes(
    _ source: Inode, _ target: Inode, _ range: CopiedRange, _ work: inout Work
  ) throws(FilesystemError) {
    try FileCloner.requireWritable(target)
    let buffer = AlignedBuffer(count: Int(range.length.roundedUp(to: sectorSize)))
    let bytes = buffer.bytes.part(0, Int(range.length))
    let count = try reader.read(source, at: range.from, into: bytes)
    guard count == bytes.count else { throw .corrupt("\(source.id) has become shorter") }
    try writer.write(target, at: range.to, UnsafeRawBufferPointer(bytes))
    withExtendedLifetime(buffer) {}
    work.done += range.length
    work.copiedBytes += bytes.count
    work.isPrepared = false
  }
}

import Logging

/// A part of a compressed extent that a read asks for.
struct CompressedPart {
  let extent: FileExtent
  /// Where in the file it begins.
  let start: UInt64
  let target: UnsafeMutableRawBufferPointer

  /// Where in the extent's content it begins.
  var offset: UInt64 { extent.item.offset + (start - extent.start) }
}

/// Reads compressed extents, for one request of a file. Any thread may, while another holds the file's
/// `content` and is in `ReuseGuard.reading` until all have ended.
struct CompressedReader: Sendable {
  let data: DataReader
  let decompressed: DecompressedExtents
  let contexts: CodecContexts
  let inode: InodeID
  let isChecked: Bool

  func read(_ part: CompressedPart) throws(FilesystemError) {
    let item = part.extent.item
    let end = part.offset.addingReportingOverflow(UInt64(part.target.count))
    guard !end.overflow, end.partialValue <= item.ramBytes else {
      throw broken(item, "a file extent leaves it")
    }
    if let known = decompressed.find(item) { return copy(known, part) }

    // Whole, straight to where it is wanted; else where the next request finds it.
    if part.offset == 0, UInt64(part.target.count) == item.ramBytes {
      return try decompress(item, into: part.target, at: part.start)
    }
    guard item.ramBytes <= Format.longestCompressedExtent else { throw tooLong(item) }
    let content = AlignedBuffer(count: Int(item.ramBytes))
    try decompress(item, into: content.bytes, at: part.start)
    decompressed.insert(item, content)
    copy(content, part)
  }

  private func copy(_ content: AlignedBuffer, _ part: CompressedPart) {
    part.target.copyMemory(from: content.readable.part(Int(part.offset), part.target.count))
  }

  /// Decompresses all of an extent into `target`, which is as long as its content.
  private func decompress(
    _ item: FileExtentItem, into target: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(FilesystemError) {
    guard item.ramBytes <= Format.longestCompressedExtent,
      item.diskLength <= Format.longestCompressedExtent
    else { throw tooLong(item) }
    let stored = AlignedBuffer(count: Int(item.diskLength))
    try data.read(
      at: item.diskAddress, into: stored.bytes, isChecked: isChecked,
      FilePosition(inode: inode, offset: offset))
    let isWhole = contexts.with { context in
      Decompression.decompress(
        item.compression, stored.readable, into: target, sectorSize: data.geometry.sectorBytes,
        context)
    }
    guard isWhole else { throw broken(item, "it cannot be decompressed") }
  }

  private func tooLong(_ item: FileExtentItem) -> FilesystemError {
    broken(item, "it has \(item.diskLength) bytes for \(item.ramBytes)")
  }

  private func broken(_ item: FileExtentItem, _ what: String) -> FilesystemError {
    let error = FilesystemError.corrupt(
      "the \(item.compression.name) extent at \(item.diskAddress) of file \(inode): \(what)")
    data.log.error("\(error)")
    return error
  }
}

/// The parts of one request; those of one extent are a step. Where they go stays until the request is
/// done.
struct ReadSteps: WorkSteps, @unchecked Sendable {
  let parts: [[CompressedPart]]
  let reader: CompressedReader

  func perform(_ step: Int) -> FilesystemError? {
    do throws(FilesystemError) {
      for part in parts[step] { try reader.read(part) }
      return nil
    } catch {
      return error
    }
  }
}

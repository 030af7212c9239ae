/// Copies within the volume, which share what they can.
extension FileOperations {
  /// Copies `length` bytes of a file into another, or into another part of its own, as
  /// copy_file_range(2): whole blocks are shared where both ranges begin at the same place within a
  /// block, and the rest is copied. Returns how many bytes were done: at least one, unless the source
  /// has none there.
  package func copy(
    _ source: InodeID, at from: UInt64, to target: InodeID, at to: UInt64, length: UInt64
  ) throws(FilesystemError) -> UInt64 {
    let (inode, other) = (try file(source), try writableFile(target))
    let range = try CopiedRange(from: from, to: to, length: length)
    guard range.length > 0 else { return 0 }
    if inode === other, range.overlapsItself { throw Self.overlap }
    return try copy(inode, other) { () throws(FilesystemError) in
      try files.copy(inode, other, range)
    }
  }

  /// Shares a range of a file with another, as ioctl FICLONERANGE: all of the range is shared, or the
  /// request is refused. Nil for `length` means the rest of the source. A long one is done in part;
  /// the caller goes on where it ends.
  package func clone(
    _ source: InodeID, at from: UInt64, to target: InodeID, at to: UInt64, length: UInt64?
  ) throws(FilesystemError) -> (bytes: UInt64, isComplete: Bool) {
    let (inode, other) = (try file(source), try writableFile(target))
    var isComplete = false
    let bytes = try copy(inode, other) { () throws(FilesystemError) in
      let range = try clonedRange(inode, other, from, to, length)
      guard range.length > 0 else {
        isComplete = true
        return 0
      }
      let bytes = try files.copy(inode, other, range)
      isComplete = bytes == range.length
      return bytes
    }
    return (bytes, isComplete)
  }

  /// Runs `body` with both inodes locked; once more when there was no space.
  private func copy(
    _ source: Inode, _ target: Inode, _ body: () throws(FilesystemError) -> UInt64
  ) throws(FilesystemError) -> UInt64 {
    let done: UInt64
    do throws(FilesystemError) {
      done = try copyOnce(source, target, body)
    } catch {
      guard case .noSpace = error else { throw error }
      try reclaimSpace()
      done = try copyOnce(source, target, body)
    }
    if target.attributes.flags.contains(.sync) { try synchronize(target.id, dataOnly: false) }
    return done
  }

  private func copyOnce(
    _ source: Inode, _ target: Inode, _ body: () throws(FilesystemError) -> UInt64
  ) throws(FilesystemError) -> UInt64 {
    // Most of it while others may use the files still.
    files.flush(source)
    files.flush(target)
    return try InodeTable.exclusively([source, target]) { () throws(FilesystemError) in
      try target.requireFlagsAllow(unless: [.immutable, .append])
      return try body()
    }
  }

  /// Throws unless all of the range can be shared. Both inodes are locked.
  private func clonedRange(
    _ source: Inode, _ target: Inode, _ from: UInt64, _ to: UInt64, _ length: UInt64?
  ) throws(FilesystemError) -> CopiedRange {
    let size = source.fileSize
    let sector = geometry.sectorSize
    guard source.hasUncheckedData == target.hasUncheckedData else {
      throw .invalidArgument(
        "one of the files has checksums and the other has none (chattr +C): they share nothing")
    }
    guard from <= size, length ?? 0 <= size - from else {
      throw .invalidArgument("the range ends behind the source, which has \(size) bytes")
    }
    let range = try CopiedRange(from: from, to: to, length: length ?? (size - from))
    guard range.length > 0 else { return range }
    guard from % sector == 0, to % sector == 0 else {
      throw .invalidArgument(
        "what is shared begins at a multiple of \(sector) bytes, in both files")
    }
    guard
      range.length % sector == 0 || range.sourceEnd == size && range.targetEnd >= target.fileSize
    else {
      throw .invalidArgument(
        "what is shared ends at a multiple of \(sector) bytes, or where both files end")
    }
    if source === target, range.overlapsItself { throw Self.overlap }
    return range
  }

  private static let overlap = FilesystemError.invalidArgument(
    "the two ranges of the file overlap")
}

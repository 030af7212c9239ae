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
    let done = try copy(inode, other) { (known) throws(FilesystemError) in
      try files.copy(inode, other, range, knownFailures: known)
    }
    // The content has changed, and the caller has to know how far. fsync(2) tells what is lost.
    if done > 0 { try? synchronizeIfAsked(other) }
    return done
  }

  /// Shares a range of a file with another, as ioctl FICLONERANGE: all of the range is shared, or the
  /// request is refused. Nil for `length` means the rest of the source. A long one is done in part;
  /// the caller goes on where it ends. When an error is thrown after a change of the content, as by the
  /// synchronization of a file that asks for it, the content is the new one all the same.
  ///
  /// - Parameter sourceSize: how long the source was when the first part was asked for. The range may end
  ///   there within a block, though the source has grown meanwhile: by the parts before, in one file.
  /// - Parameter keepsSize: refused is what would make the target longer.
  package func clone(
    _ source: InodeID, at from: UInt64, to target: InodeID, at to: UInt64, length: UInt64?,
    sourceSize: UInt64? = nil, keepsSize: Bool = false
  ) throws(FilesystemError) -> (bytes: UInt64, isComplete: Bool) {
    let (inode, other) = (try file(source), try writableFile(target))
    var isComplete = false
    let bytes = try copy(inode, other) { (known) throws(FilesystemError) in
      let range = try clonedRange(inode, other, from, to, length, sourceSize, other.fileSize)
      if keepsSize, range.length > 0, range.targetEnd > other.fileSize { throw Self.wouldGrow }
      guard range.length > 0 else {
        isComplete = true
        return 0
      }
      let bytes = try files.copy(
        inode, other, range, sourceSize: sourceSize, knownFailures: known)
      isComplete = bytes == range.length
      return bytes
    }
    try synchronizeIfAsked(other)
    return (bytes, isComplete)
  }

  /// Throws what `clone` would throw at once, and changes nothing.
  ///
  /// - Parameter replaces: the target is reckoned as if it were empty.
  package func checkClone(
    _ source: InodeID, at from: UInt64, to target: InodeID, at to: UInt64, length: UInt64?,
    sourceSize: UInt64? = nil, replaces: Bool = false
  ) throws(FilesystemError) {
    let (inode, other) = (try file(source), try writableFile(target))
    try InodeTable.exclusively([inode, other]) { () throws(FilesystemError) in
      try requireMayChange(other)
      if replaces, inode === other { throw Self.overlap }
      _ = try clonedRange(
        inode, other, from, to, length, sourceSize, replaces ? 0 : other.fileSize)
    }
  }

  private func synchronizeIfAsked(_ target: Inode) throws(FilesystemError) {
    if target.attributes.flags.contains(.sync) { try synchronize(target.id, dataOnly: false) }
  }

  /// Runs `body` with both inodes locked; once more when there was no space. It gets the number of
  /// failures that the source had before anything of it was written back for this.
  private func copy(
    _ source: Inode, _ target: Inode, _ body: (UInt64) throws(FilesystemError) -> UInt64
  ) throws(FilesystemError) -> UInt64 {
    let known = source.file.failures
    do throws(FilesystemError) {
      return try copyOnce(source, target, known, body)
    } catch {
      guard case .noSpace = error else { throw error }
      try reclaimSpace()
      return try copyOnce(source, target, known, body)
    }
  }

  private func copyOnce(
    _ source: Inode, _ target: Inode, _ known: UInt64,
    _ body: (UInt64) throws(FilesystemError) -> UInt64
  ) throws(FilesystemError) -> UInt64 {
    // Most of it while others may use the files still.
    files.flush(source)
    files.flush(target)
    return try InodeTable.exclusively([source, target]) { () throws(FilesystemError) in
      try requireMayChange(target)
      return try body(known)
    }
  }

  /// The inode is locked: flags may have been set since the file was found.
  private func requireMayChange(_ target: Inode) throws(FilesystemError) {
    try attributes.requireWritable(target)
    try target.requireFlagsAllow(unless: [.immutable, .append])
  }

  /// Throws unless all of the range can be shared. Both inodes are locked.
  private func clonedRange(
    _ source: Inode, _ target: Inode, _ from: UInt64, _ to: UInt64, _ length: UInt64?,
    _ sourceSize: UInt64?, _ targetSize: UInt64
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
      range.length % sector == 0
        || (range.sourceEnd == size || range.sourceEnd == sourceSize)
          && range.targetEnd >= targetSize
    else {
      throw .invalidArgument(
        "what is shared ends at a multiple of \(sector) bytes, or where both files end")
    }
    if source === target, range.overlapsItself { throw Self.overlap }
    return range
  }

  private static let wouldGrow = FilesystemError.invalidArgument(
    "the range ends behind the destination, and the kernel keeps the size of files (writeback_cache): "
      + "make the destination as long first, by truncate(1) or ftruncate(2)")

  private static let overlap = FilesystemError.invalidArgument(
    "the two ranges of the file overlap")
}

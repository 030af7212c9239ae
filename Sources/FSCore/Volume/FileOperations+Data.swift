/// Content of files.
extension FileOperations {
  /// Reads from `offset` on; returns how many bytes there are before the end of the file. The
  /// rest of `buffer` may be overwritten too.
  package func read(
    _ id: InodeID, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
  ) throws(FilesystemError) -> Int {
    let inode = try file(id)
    let count = try files.read(inode, at: offset, into: buffer)
    attributes.touchAccessTime(inode)
    return count
  }

  /// Reads the whole content of a small file, for a reader of whom it is not known yet that there will
  /// be one: only where a read is not to be noted. Passes the number of bytes to `body`, and neither
  /// content nor size changes before that returns. Returns whether it was called: not when the file
  /// is empty or larger than `buffer`.
  @discardableResult
  package func readAhead(
    _ id: InodeID, into buffer: UnsafeMutableRawBufferPointer, _ body: (Int) -> Void
  ) throws(FilesystemError) -> Bool {
    let inode = try inodes.inode(id)
    guard inode.isRegular, (1...UInt64(buffer.count)).contains(inode.fileSize),
      !attributes.needsAccessTimeUpdate(inode, now: .now)
    else { return false }
    return try files.readWhole(inode, into: buffer, body)
  }

  /// Writes `bytes` at `offset`, and returns how many there was space for.
  ///
  /// - Parameter isWhole: all of the bytes or none, up to `FileStore.longestWrite`.
  /// - Parameter isOpenToAppend: the file was opened with O_APPEND. When it may but grow, this
  ///   throws `.notPermitted` for what stands before its end.
  package func write(
    _ id: InodeID, at offset: UInt64, _ bytes: UnsafeRawBufferPointer,
    isOpenToAppend: Bool = false, isWhole: Bool = false
  ) throws(FilesystemError) -> Int {
    let inode = try writableFile(id)
    if isOpenToAppend, offset < inode.fileSize { try inode.requireFlagsAllow(unless: .append) }
    let done = try writeAll(inode, at: offset, bytes, isWhole: isWhole)
    if inode.attributes.flags.contains(.sync) { try synchronize(id, dataOnly: false) }
    return done
  }

  /// Writes all of `bytes`, or as many as there is space for.
  private func writeAll(
    _ inode: Inode, at offset: UInt64, _ bytes: UnsafeRawBufferPointer, isWhole: Bool
  ) throws(FilesystemError) -> Int {
    var done = 0
    while done < bytes.count {
      let rest = UnsafeRawBufferPointer(rebasing: bytes[done...])
      do throws(FilesystemError) {
        done += try writeSome(
          inode, at: offset + UInt64(done), rest, isWhole: isWhole)
      } catch {
        if done > 0 { break }
        throw error
      }
    }
    return done
  }

  /// Writes the first bytes of `bytes`, as many as there is space for.
  private func writeSome(
    _ inode: Inode, at offset: UInt64, _ bytes: UnsafeRawBufferPointer, isWhole: Bool
  ) throws(FilesystemError) -> Int {
    var count = min(bytes.count, FileStore.longestWrite)
    if transactions.heldBack == nil, space.reservations.wouldGrowForSmallFiles(UInt64(count)) {
      files.flushAll()
    }
    do throws(FilesystemError) {
      try writeOnce(inode, at: offset, bytes.part(0, count), isPatient: false)
      return count
    } catch {
      guard case .noSpace = error else { throw error }
    }

    try reclaimSpace()
    while true {
      do throws(FilesystemError) {
        try writeOnce(inode, at: offset, bytes.part(0, count))
        return count
      } catch {
        guard case .noSpace = error, !isWhole, count > Int(geometry.sectorSize) else {
          throw error
        }
        // The end of the first half, at the end of a sector.
        let end = (offset + UInt64(count / 2)).roundedDown(to: geometry.sectorSize)
        guard end > offset else { throw error }
        count = Int(end - offset)
      }
    }
  }

  private func writeOnce(
    _ inode: Inode, at offset: UInt64, _ bytes: UnsafeRawBufferPointer, isPatient: Bool = true
  ) throws(FilesystemError) {
    try inode.lock.shared { () throws(FilesystemError) in
      guard !inode.isDeleted else { throw .stale }
      try files.write(inode, at: offset, bytes, isPatient: isPatient)
    }
  }

  /// Makes the file durable: what is buffered of it, its attributes and its names. Throws the
  /// error of an earlier write-back too, once to each reader; without one, when no other reader has
  /// been told.
  ///
  /// - Parameter dataOnly: changes nothing as yet: every synchronization is a whole commit.
  package func synchronize(
    _ id: InodeID, dataOnly: Bool, _ reader: FailureReader? = nil
  ) throws(FilesystemError) {
    guard !isReadOnly else { return }
    let inode = try inodes.inode(id)
    if inode.file.bufferedBytes > 0 { try committer.requireRoom() }
    files.flush(inode)
    // What an image says may lie in the future.
    let changed = min(inode.attributes.transactionID, transactions.newestChanged)
    try committer.commit(through: changed)
    try files.throwFailure(of: inode, to: reader, isReport: true)
  }

  /// For an open of a file, which has begun and not ended.
  package func failureReader(of id: InodeID) -> FailureReader {
    FailureReader(known: inodes.loaded(id)?.file.failuresReported ?? 0)
  }

  /// Throws the error of an earlier write-back of this file, for close(2): fsync(2) still does
  /// so. What is buffered is not waited for.
  package func reportFailure(
    of id: InodeID, _ reader: FailureReader?
  ) throws(FilesystemError) {
    guard let inode = inodes.loaded(id), inode.isRegular else { return }
    try files.throwFailure(of: inode, to: reader, isReport: false)
  }

  /// The first position at or after `offset` that has data, or none. Throws `.noSuchOffset` when
  /// `offset` is not before the end of the file, or no data follow.
  package func seek(
    _ id: InodeID, from offset: UInt64, _ target: SeekTarget
  ) throws(FilesystemError) -> UInt64 {
    try files.seek(try file(id), from: offset, target)
  }
}

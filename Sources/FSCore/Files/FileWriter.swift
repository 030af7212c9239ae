/// Takes what is written to a file: into the buffers, and on to write-back when enough is there.
struct FileWriter: Sendable {
  /// A write is buffered in pieces of this length, so that readers get a turn between them.
  static let longestWrite = 1 << 20

  /// A file that is written in order is written back without being asked when this much is
  /// buffered: enough for long extents, and little enough that the bytes are in the processor's
  /// cache still.
  private static let writeBehind = 4 << 20

  let buffer: WriteBuffer
  let writeBack: WriteBack

  /// What is buffered is written back without being asked when it is longer. Called with
  /// `content` held.
  private func writeBehindBytes(_ buffers: FileBuffers, dirty: Int) -> Int {
    let budget = buffer.budget
    // Early enough that the device is busy while more is written.
    if budget.used > budget.limit / 2 { return Self.longestWrite }
    // Scattered sectors become an extent each: the more of them go together, the more go into
    // the same leaf.
    let isScattered = dirty < buffers.dirty.count * Int(BufferCell.size / 2)
    return min(isScattered ? WriteBatch.longest : Self.writeBehind, budget.limit / 4)
  }

  /// Buffers `bytes`, no more than `longestWrite`, at `offset`. All or nothing. The inode's
  /// `lock` is held, shared at least; takes its `content`.
  ///
  /// May wait for write-back, when too much is buffered.
  ///
  /// - Parameter isPatient: see `Reservations.reserveData`.
  func write(
    _ inode: Inode, at offset: UInt64, _ bytes: UnsafeRawBufferPointer, isPatient: Bool = true
  ) throws(FilesystemError) {
    inode.lock.assertHeld()
    guard !bytes.isEmpty else { return }
    let range = try Format.fileRange(offset, UInt64(bytes.count))
    buffer.budget.waitForRoom {
      for inode in buffer.dirtyFiles.all { writeBack.start(of: inode) }
    }

    let isDue = try inode.content.exclusive { () throws(FilesystemError) -> Bool in
      let size = inode.fileSize
      if offset > size { try buffer.settleTail(of: inode, size: size, upTo: offset) }
      if range.upperBound > size { try buffer.keepInlineAlone(inode, size: size) }
      try buffer.put(inode, range, bytes, size: size, isPatient: isPatient)

      inode.growFile(to: range.upperBound)
      let dirty = inode.file.bufferedBytes - inode.file.writingBytes
      return dirty >= Self.longestWrite && dirty >= writeBehindBytes(inode.file, dirty: dirty)
    }
    if isDue { writeBack.start(of: inode) }
  }
}

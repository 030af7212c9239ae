/// Punches holes into files, in a transaction for some extents at a time.
struct HolePuncher: Sendable {
  let geometry: Geometry
  let transactions: TransactionManager
  let buffer: WriteBuffer
  let editor: FileExtentEditor
  let sizes: FileSizeEditor
  let writeBack: WriteBack

  private var sectorSize: UInt64 { geometry.sectorSize }

  /// Makes [offset, +length) read as zero and gives its space back, also beyond the end of the
  /// file. The size stays. The inode's `lock` is held exclusively; waits for write-back.
  func punchHole(
    _ inode: Inode, at offset: UInt64, length: UInt64
  ) throws(FilesystemError) {
    inode.lock.assertHeldExclusively()
    let range = try Format.fileRange(offset, length)
    writeBack.flush(inode)

    var isChanged = try inode.content.exclusive { () throws(FilesystemError) in
      try buffer.zeroEdges(of: range, inode)
    }
    let first = range.lowerBound.roundedUp(to: sectorSize)
    let last = range.upperBound.roundedDown(to: sectorSize)
    var position = first
    while position < last {
      let (next, isStepChanged) = try inode.content.exclusive { () throws(FilesystemError) in
        try punchSome(inode, position..<last)
      }
      position = next
      isChanged = isChanged || isStepChanged
    }
    // As Linux has it, what was a hole already is not a change of the file.
    if isChanged { try sizes.finishChange(of: inode, size: nil) }
  }

  /// One transaction's worth. Returns where to go on, and whether there was anything.
  private func punchSome(
    _ inode: Inode, _ range: Range<UInt64>
  ) throws(FilesystemError) -> (next: UInt64, isChanged: Bool) {
    var found = try inode.extentsToChange(in: range, atMost: FileExtentEditor.mostRemoved + 1)
    var end = range.upperBound
    if found.count > FileExtentEditor.mostRemoved { end = found.removeLast().start }
    guard found.contains(where: { !$0.item.isHole }) else { return (end, false) }

    let step = range.lowerBound..<end
    try transactions.perform(reserving: 6 + found.count / 4, useGlobalReserve: true) {
      (handle) throws(FilesystemError) in
      handle.noteChange()
      try editor.drop(found, step, of: inode, in: handle)
      let fileEnd = inode.item.withLock { _ in min(inode.diskSize, Format.largestFileSize) }
      let holeEnd = min(end, fileEnd.roundedUp(to: sectorSize))
      if step.lowerBound < holeEnd {
        try editor.fillHoles(of: inode, in: step.lowerBound..<holeEnd, in: handle)
      }
      try inode.writeItem(in: handle)
    }
    return (end, true)
  }
}

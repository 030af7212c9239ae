/// Punching holes.
extension FileStore {
  /// Makes [offset, +length) read as zero and gives its space back, also beyond the end of the
  /// file. The size stays. The inode's `lock` is held exclusively; waits for write-back.
  package func punchHole(
    _ inode: Inode, at offset: UInt64, length: UInt64
  ) throws(FilesystemError) {
    let range = try checkedRange(offset, length)
    flush(inode)

    var isChanged = try inode.content.exclusive { () throws(FilesystemError) in
      try zeroEdges(of: range, inode)
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
    if isChanged { try finishChange(of: inode, size: nil) }
  }

  func checkedRange(
    _ offset: UInt64, _ length: UInt64
  ) throws(FilesystemError) -> Range<UInt64> {
    guard length > 0 else { throw .invalidArgument("a range without length") }
    let (end, overflow) = offset.addingReportingOverflow(length)
    guard !overflow, end <= Self.largestSize else { throw .fileTooLarge }
    return offset..<end
  }

  /// Buffers zeros for the parts of `range` that are not whole sectors, where there are data.
  /// Says whether there were. `content` is held exclusively.
  func zeroEdges(of range: Range<UInt64>, _ inode: Inode) throws(FilesystemError) -> Bool {
    let size = inode.fileSize
    var isChanged = false
    for edge in edges(of: range) where edge.lowerBound < size {
      guard try hasData(inode, at: edge.lowerBound) else { continue }
      try put(inode, edge.lowerBound..<min(edge.upperBound, size), nil, size: size)
      isChanged = true
    }
    return isChanged
  }

  /// The parts of `range` that are not whole sectors: none, one or two.
  func edges(of range: Range<UInt64>) -> [Range<UInt64>] {
    let first = range.lowerBound.roundedUp(to: sectorSize)
    let last = range.upperBound.roundedDown(to: sectorSize)
    if first > last { return [range] }
    return [range.lowerBound..<first, last..<range.upperBound].filter { !$0.isEmpty }
  }

  /// Whether the byte at `offset` is buffered or stands somewhere: it may not be zero.
  func hasData(_ inode: Inode, at offset: UInt64) throws(FilesystemError) -> Bool {
    let sector = offset.roundedDown(to: sectorSize)
    if inode.file.bytes(at: sector, end: sector + sectorSize) != nil { return true }
    return try extents(of: inode, in: offset..<(offset + 1), atMost: 1).first?.hasData ?? false
  }

  /// One transaction's worth. Returns where to go on, and whether there was anything.
  private func punchSome(
    _ inode: Inode, _ range: Range<UInt64>
  ) throws(FilesystemError) -> (next: UInt64, isChanged: Bool) {
    var found = try extentsToChange(of: inode, in: range, atMost: Self.mostRemoved + 1)
    var end = range.upperBound
    if found.count > Self.mostRemoved { end = found.removeLast().start }
    guard found.contains(where: { !$0.item.isHole }) else { return (end, false) }

    let step = range.lowerBound..<end
    try transactions.perform(reserving: 6 + found.count / 4, useGlobalReserve: true) {
      (handle) throws(FilesystemError) in
      handle.noteChange()
      try drop(found, step, of: inode, in: handle)
      let fileEnd = inode.item.withLock { _ in min(inode.diskSize, Self.largestSize) }
      let holeEnd = min(end, fileEnd.roundedUp(to: sectorSize))
      if step.lowerBound < holeEnd {
        try fillHoles(of: inode, in: step.lowerBound..<holeEnd, in: handle)
      }
      try inode.writeItem(in: handle)
    }
    return (end, true)
  }

  /// Sets times, and the size when there is one, after the extents have changed. The inode's
  /// `lock` is held exclusively; takes its `content`.
  func finishChange(of inode: Inode, size: UInt64?) throws(FilesystemError) {
    try inode.content.exclusive { () throws(FilesystemError) in
      try transactions.perform(reserving: 6, useGlobalReserve: true) {
        (handle) throws(FilesystemError) in
        handle.noteChange()
        setSize(of: inode, to: size ?? inode.item.withLock { $0.size })
        if inode.file.isEmpty { try raiseDiskSize(of: inode, to: .max, in: handle) }
        try inode.writeItem(in: handle)
      }
    }
  }
}

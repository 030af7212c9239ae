/// Zeros in place of what stands in a file.
extension WriteBuffer {
  /// Buffers zeros for the parts of `range` that are not whole sectors, where there are data.
  /// Says whether there were. `content` is held exclusively.
  func zeroEdges(of range: Range<UInt64>, _ inode: Inode) throws(FilesystemError) -> Bool {
    inode.content.assertHeldExclusively()
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
    return try inode.extents(in: offset..<(offset + 1), atMost: 1).first?.hasData ?? false
  }
}

/// What lseek(2) looks for.
package enum SeekTarget: Sendable {
  case data
  case hole
}

/// Looks for data and holes.
struct FileSeeker: Sendable {
  let geometry: Geometry

  private var sectorSize: UInt64 { geometry.sectorSize }

  /// The first position at or after `offset` with data, or without. Preallocated space that was
  /// not written to is a hole, and so is what follows the last byte. Takes the inode's `content`.
  ///
  /// Throws `.noSuchOffset` at the end of the file, and when no data follow.
  func seek(
    _ inode: Inode, from offset: UInt64, _ target: SeekTarget
  ) throws(FilesystemError) -> UInt64 {
    try inode.content.shared { () throws(FilesystemError) in
      let size = inode.fileSize
      guard offset < size else { throw .noSuchOffset }
      switch target {
      case .data:
        guard let found = try firstData(inode, from: offset, size), found < size else {
          throw .noSuchOffset
        }
        return found
      case .hole:
        return min(try firstHole(inode, from: offset, size), size)
      }
    }
  }

  private func firstData(
    _ inode: Inode, from offset: UInt64, _ size: UInt64
  ) throws(FilesystemError) -> UInt64? {
    let buffered = inode.file.firstBuffered(from: offset).map { max($0, offset) }
    if buffered == offset { return buffered }
    let end = min(buffered ?? size, size)

    var position = offset
    while position < end {
      let found = try inode.extents(in: position..<end, atMost: 32)
      if let data = found.first(where: { $0.hasData }) { return max(data.start, position) }
      guard found.count == 32, let last = found.last else { break }
      position = last.end(sectorSize)
    }
    return buffered
  }

  private func firstHole(
    _ inode: Inode, from offset: UInt64, _ size: UInt64
  ) throws(FilesystemError) -> UInt64 {
    var position = offset
    while position < size {
      let sector = position.roundedDown(to: sectorSize)
      let end = size.roundedUp(to: sectorSize)
      if let bytes = inode.file.bytes(at: sector, end: end) {
        position = sector + UInt64(bytes.count)
        continue
      }
      guard let extent = try inode.extents(in: position..<(position + 1), atMost: 1).first,
        extent.hasData
      else { return position }
      position = extent.end(sectorSize)
    }
    return position
  }
}

/// What fallocate(2) is asked for.
package enum AllocationMode: Sendable {
  /// Space for the whole range; the file grows to its end.
  case plain
  /// The same, but the size stays.
  case keepSize
  /// The range reads as zero and has no space. The size stays.
  case punchHole
  /// The range reads as zero and has space; the file grows to its end.
  case zeroRange
  case zeroRangeKeepSize
}

extension FileOperations {
  /// Allocates, zeroes or gives back [offset, +length) of a file.
  package func allocate(
    _ id: InodeID, _ mode: AllocationMode, offset: UInt64, length: UInt64
  ) throws(FilesystemError) {
    let inode = try writableFile(id)
    do throws(FilesystemError) {
      try allocateOnce(inode, mode, offset, length)
    } catch {
      guard case .noSpace = error else { throw error }
      try reclaimSpace()
      try allocateOnce(inode, mode, offset, length)
    }
  }

  private func allocateOnce(
    _ inode: Inode, _ mode: AllocationMode, _ offset: UInt64, _ length: UInt64
  ) throws(FilesystemError) {
    try InodeTable.exclusively(inode) { () throws(FilesystemError) in
      // What takes bytes away is not for files that may but grow.
      let isDestructive = mode != .plain && mode != .keepSize
      try inode.requireFlagsAllow(unless: isDestructive ? [.immutable, .append] : .immutable)
      switch mode {
      case .plain, .keepSize:
        try files.preallocate(inode, at: offset, length: length, keepSize: mode == .keepSize)
      case .punchHole:
        try files.punchHole(inode, at: offset, length: length)
      case .zeroRange, .zeroRangeKeepSize:
        try files.zeroRange(
          inode, at: offset, length: length, keepSize: mode == .zeroRangeKeepSize)
      }
    }
  }
}

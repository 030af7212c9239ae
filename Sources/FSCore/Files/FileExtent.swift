/// A file extent item and where it stands in its file.
struct FileExtent: Sendable {
  /// Where in the file it begins.
  var start: UInt64
  var item: FileExtentItem
  /// What an inline item holds, as it is stored; else empty.
  var inlineBytes: [UInt8] = []

  var isInline: Bool { item.kind == .inline }
  var isPreallocated: Bool { item.kind == .preallocated }

  /// Whether it has bytes that may differ from zero.
  var hasData: Bool { item.kind == .inline || (item.kind == .regular && !item.isHole) }

  /// Where in the file it ends. An inline extent ends with its sector.
  func end(_ sectorSize: UInt64) -> UInt64 {
    start + (isInline ? item.length.roundedUp(to: sectorSize) : item.length)
  }

  /// What it counts in the inode's nbytes.
  var allocatedBytes: UInt64 { item.isHole ? 0 : item.length }

  /// Where the file's byte at `offset` stands; of an uncompressed extent.
  func address(of offset: UInt64) -> LogicalAddress {
    item.diskAddress + item.offset + (offset - start)
  }

  /// What remains of it in `range`, which lies inside. Not for inline extents.
  func part(_ range: Range<UInt64>) -> FileExtent {
    var part = self
    part.start = range.lowerBound
    part.item.length = range.upperBound - range.lowerBound
    if item.isHole {
      // A hole is cut off nothing. Linux lets pieces of one keep an offset.
      part.item.offset = 0
      part.item.ramBytes = part.item.length
    } else {
      part.item.offset = item.offset + (range.lowerBound - start)
    }
    return part
  }

  /// Whether `next` goes on where this one ends, in the file and in the same extent.
  func isContinued(by next: FileExtent) -> Bool {
    item.kind == next.item.kind && item.hasExtent && start + item.length == next.start
      && item.diskAddress == next.item.diskAddress && item.diskLength == next.item.diskLength
      && item.ramBytes == next.item.ramBytes && item.compression == next.item.compression
      && item.offset + item.length == next.item.offset
  }

  /// How this item refers to its extent when its leaf belongs to `inode`'s tree.
  func identity(of inode: Inode) -> ReferenceIdentity {
    .data(root: inode.tree.id, inode: inode.number, offset: start &- item.offset)
  }
}

/// Where a range of a file stands, byte by byte as it is in the file, as a thread has found it in the
/// tree. It is so while the tree's `changeCount` is the same.
struct KnownExtent {
  let range: Range<UInt64>
  let address: LogicalAddress
  let changeCount: UInt64
}

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

extension FileStore {
  /// The extents that overlap `range`, in order; at most `limit`. The inode's `content` is held,
  /// or else nobody changes the file's extents.
  func extents(
    of inode: Inode, in range: Range<UInt64>, atMost limit: Int = .max
  ) throws(FilesystemError) -> [FileExtent] {
    var found: [FileExtent] = []
    guard !range.isEmpty, limit > 0 else { return found }

    if let extent = try lastExtent(of: inode, atMost: range.lowerBound),
      extent.end(sectorSize) > range.lowerBound
    {
      found.append(extent)
      if extent.end(sectorSize) >= range.upperBound || limit == 1 { return found }
    }
    guard range.lowerBound + 1 < range.upperBound else { return found }

    try inode.tree.forEach(
      from: inode.extentKey(range.lowerBound + 1), through: inode.extentKey(range.upperBound - 1)
    ) { (key, bytes) throws(FilesystemError) in
      let extent = try Self.decode(key, bytes)
      // Within a leaf that was checked when the leaf was read.
      if let last = found.last, last.end(sectorSize) > extent.start {
        throw .corrupt("file extents of \(inode.id) overlap at \(extent.start)")
      }
      found.append(extent)
      return found.count < limit
    }
    return found
  }

  /// The same, for a change of that range: throws, too, when what would remain of the last extent
  /// overlaps the one that follows.
  func extentsToChange(
    of inode: Inode, in range: Range<UInt64>, atMost limit: Int = .max
  ) throws(FilesystemError) -> [FileExtent] {
    let found = try extents(of: inode, in: range, atMost: limit)
    if let last = found.last, last.end(sectorSize) > range.upperBound {
      _ = try extents(of: inode, in: last.start..<last.end(sectorSize))
    }
    return found
  }

  /// The last extent that begins at or before `offset`.
  func lastExtent(
    of inode: Inode, atMost offset: UInt64
  ) throws(FilesystemError) -> FileExtent? {
    try inode.tree.findLast(atMost: inode.extentKey(offset)) {
      (key, bytes) throws(FilesystemError) -> FileExtent? in
      guard key.objectID == inode.number, key.type == .extentData else { return nil }
      return try Self.decode(key, bytes)
    } ?? nil
  }

  private static func decode(_ key: Key, _ bytes: RawSpan) throws(FilesystemError) -> FileExtent {
    let item = try FileExtentItem(bytes)
    guard item.kind == .inline else { return FileExtent(start: key.offset, item: item) }
    let header = FileExtentItem.inlineHeaderSize
    return FileExtent(
      start: key.offset, item: item, inlineBytes: bytes.array(header, bytes.byteCount - header))
  }
}

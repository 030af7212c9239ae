/// Which extents a file has. All of these are called with the inode's `content` held, or with its
/// `lock` held exclusively and no pass of write-back under way (debug builds look at the locks).
extension Inode {
  func extentKey(_ offset: UInt64) -> Key { Key(number, .extentData, offset) }

  /// The extents that overlap `range`, in order; at most `limit`.
  func extents(
    in range: Range<UInt64>, atMost limit: Int = .max
  ) throws(FilesystemError) -> [FileExtent] {
    let sectorSize = subvolume.geometry.sectorSize
    assertExtentsStand()
    var found: [FileExtent] = []
    guard !range.isEmpty, limit > 0 else { return found }

    if let extent = try lastExtent(atMost: range.lowerBound),
      extent.end(sectorSize) > range.lowerBound
    {
      found.append(extent)
      if extent.end(sectorSize) >= range.upperBound || limit == 1 { return found }
    }
    guard range.lowerBound + 1 < range.upperBound else { return found }

    try tree.forEach(
      from: extentKey(range.lowerBound + 1), through: extentKey(range.upperBound - 1)
    ) { (key, bytes) throws(FilesystemError) in
      let extent = try Self.decode(key, bytes)
      // Within a leaf that was checked when the leaf was read.
      if let last = found.last, last.end(sectorSize) > extent.start {
        throw .corrupt("file extents of \(id) overlap at \(extent.start)")
      }
      found.append(extent)
      return found.count < limit
    }
    return found
  }

  /// The same, for a change of that range: throws, too, when what would remain of the last extent
  /// overlaps the one that follows.
  func extentsToChange(
    in range: Range<UInt64>, atMost limit: Int = .max
  ) throws(FilesystemError) -> [FileExtent] {
    let sectorSize = subvolume.geometry.sectorSize
    let found = try extents(in: range, atMost: limit)
    if let last = found.last, last.end(sectorSize) > range.upperBound {
      _ = try extents(in: last.start..<last.end(sectorSize))
    }
    return found
  }

  /// The last extent that begins at or before `offset`.
  func lastExtent(atMost offset: UInt64) throws(FilesystemError) -> FileExtent? {
    assertExtentsStand()
    return try tree.findLast(atMost: extentKey(offset)) {
      (key, bytes) throws(FilesystemError) -> FileExtent? in
      guard key.objectID == number, key.type == .extentData else { return nil }
      return try Self.decode(key, bytes)
    } ?? nil
  }

  private func assertExtentsStand() {
    assert(
      content.isHeld(exclusively: false) || lock.isHeld(exclusively: true),
      "the extents of \(id) may change while they are looked at")
  }

  private static func decode(_ key: Key, _ bytes: RawSpan) throws(FilesystemError) -> FileExtent {
    var item = try FileExtentItem(bytes)
    guard item.kind == .inline else {
      // Old kernels wrote another number than the extent's length here and there. It means nothing
      // where nothing is compressed. Linux mends it in memory, too, and on disk leaves it alone;
      // here, pieces that are written anew get the right one.
      if item.compression == .none, item.hasExtent { item.ramBytes = item.diskLength }
      return FileExtent(start: key.offset, item: item)
    }
    let header = FileExtentItem.inlineHeaderSize
    return FileExtent(
      start: key.offset, item: item, inlineBytes: bytes.array(header, bytes.byteCount - header))
  }
}

/// Says which bytes of a file are written where they stand.
///
/// It is so only where nobody else sees them, nor did at the last commit: in preallocated space,
/// which reads as zeros until its items say otherwise, and in files without copy on write.
struct OverwriteRule: Sendable {
  let geometry: Geometry
  let references: DelayedReferences
  let checksums: ChecksumTree

  /// Whether what stands in this extent is seen through this item's file alone, and in its
  /// present tree alone.
  func isExclusive(_ extent: FileExtent, _ inode: Inode) throws(FilesystemError) -> Bool {
    // A snapshot shares the leaf and so the item, which the counts do not tell.
    guard extent.item.generation > inode.tree.itemsSharedThrough else { return false }
    return try references.isExclusive(
      data: extent.item.diskAddress, length: extent.item.diskLength, root: inode.tree.id,
      inode: inode.number, offset: extent.start &- extent.item.offset)
  }

  /// In what `range` of an extent is written where it stands; nil when it needs new space.
  func place(
    within extent: FileExtent, _ range: Range<UInt64>, _ inode: Inode
  ) throws(FilesystemError) -> OrderedExtent.Place? {
    if extent.isPreallocated { return try isExclusive(extent, inode) ? .preallocated : nil }
    guard inode.isOverwritten, extent.hasData, !extent.isInline,
      extent.item.compression == .none, try isExclusive(extent, inode)
    else { return nil }
    // Linux leaves none there. They would be wrong.
    let hasChecksums = try checksums.hasAny(
      from: extent.address(of: range.lowerBound), length: range.upperBound - range.lowerBound)
    return hasChecksums ? nil : .data
  }

  /// Whether all of `range` can be written without new space.
  func allows(
    _ inode: Inode, _ range: Range<UInt64>
  ) throws(FilesystemError) -> Bool {
    var position = range.lowerBound
    for extent in try inode.extents(in: range) {
      let end = extent.end(geometry.sectorSize)
      guard extent.start <= position, end > position,
        try place(within: extent, position..<min(end, range.upperBound), inode) != nil
      else { return false }
      position = end
    }
    return position >= range.upperBound
  }
}

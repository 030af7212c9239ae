import FreeSpace

/// What stands in the file of a free space cache, by file offset, and whether a cache can stand
/// there.
package struct CacheFileExtents {
  package private(set) var items: [(offset: UInt64, item: FileExtentItem)] = []

  /// A cache has few extents: whatever has more is none.
  package var isFull: Bool { items.count > CacheLayout.maximumPageCount }

  package init() {}

  mutating func append(_ offset: UInt64, _ item: FileExtentItem) { items.append((offset, item)) }

  /// Why no cache can have these extents and this size, in bytes; nil when one can. They are
  /// regular and uncompressed, from 0 on without a gap, `size` bytes in all, which is as much as
  /// a cache may have.
  ///
  /// - Parameter allowingUnwritten: preallocated ones are right, too: those of a cache that was
  ///   set up and given up.
  package func fault(size: UInt64, allowingUnwritten: Bool = false) -> String? {
    let page = UInt64(CacheLayout.pageSize)
    guard size > 0, size <= page * UInt64(CacheLayout.maximumPageCount), size % page == 0 else {
      return "its file has \(size) bytes, which no cache has"
    }
    var position: UInt64 = 0
    for (offset, extent) in items {
      if extent.kind == .preallocated, !allowingUnwritten {
        return "its file has been preallocated and not written"
      }
      guard offset == position, extent.kind != .inline, extent.compression == .none,
        extent.hasExtent, extent.length > 0, extent.length <= size - position,
        extent.diskLength == extent.ramBytes, extent.offset <= extent.ramBytes,
        extent.length <= extent.ramBytes - extent.offset,
        extent.diskAddress.rawValue <= .max - extent.diskLength
      else { return "its file extent at \(offset) is not possible" }
      position += extent.length
    }
    return position == size
      ? nil : "the extents of its file cover \(position) of \(size) bytes"
  }
}

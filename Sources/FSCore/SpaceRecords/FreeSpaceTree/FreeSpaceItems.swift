import FreeSpace

/// Takes the items of one block group of the free space tree, in the order of their keys, and
/// makes them into an index of what is free, superblock copies included.
///
/// It believes nothing: the first item is the group's one FREE_SPACE_INFO; extents are inside the
/// group, whole sectors, in order, and neither overlap nor touch; bitmaps follow each other
/// without a gap and cover all of the group; the number of ranges is what the info says. What
/// breaks a rule throws `.corrupt` with the reason.
package struct FreeSpaceItems {
  private let layout: FreeSpaceTreeLayout
  /// What the items so far say.
  package let ranges: FreeSpaceIndex
  package private(set) var info: FreeSpaceInfo?
  /// Where the last item ended.
  private var position: UInt64
  /// What extents and bitmaps there are, for whoever shows them.
  package private(set) var itemCount = 0

  package init(_ layout: FreeSpaceTreeLayout) {
    self.layout = layout
    ranges = FreeSpaceIndex(
      start: layout.start, length: layout.length, sectorSize: layout.sectorSize)
    position = layout.start
  }

  package mutating func add(_ key: Key, _ bytes: RawSpan) throws(FilesystemError) {
    guard let info else { return try begin(key, bytes) }
    itemCount += 1
    switch key.type {
    case .freeSpaceExtent where !info.usesBitmaps: try addExtent(key, bytes)
    case .freeSpaceBitmap where info.usesBitmaps: try addBitmap(key, bytes)
    default: throw .corrupt("an item \(key), which has no place there")
    }
  }

  /// The free space and the info, once all items have been added.
  package func finish() throws(FilesystemError) -> (index: FreeSpaceIndex, info: FreeSpaceInfo) {
    guard let info else { throw .corrupt("it has no items") }
    if info.usesBitmaps, position != layout.end {
      throw .corrupt("its bitmaps end at \(position)")
    }
    guard ranges.rangeCount == Int(info.extentCount) else {
      throw .corrupt("\(ranges.rangeCount) free ranges, where \(info.extentCount) are counted")
    }
    return (ranges, info)
  }

  private mutating func begin(_ key: Key, _ bytes: RawSpan) throws(FilesystemError) {
    guard key == layout.infoKey else { throw .corrupt("its items begin with \(key)") }
    let info = try FreeSpaceInfo(bytes)
    guard info.flags & ~FreeSpaceInfo.usingBitmaps == 0 else {
      throw .corrupt("unknown flags \(info.flags)")
    }
    self.info = info
  }

  private mutating func addExtent(_ key: Key, _ bytes: RawSpan) throws(FilesystemError) {
    let start = key.objectID.rawValue
    let isFirst = position == layout.start
    guard bytes.isEmpty, start > position || (isFirst && start == position), start < layout.end,
      key.offset > 0, key.offset <= layout.end - start
    else { throw .corrupt("an impossible free extent \(key)") }
    try add(start, key.offset)
    position = start + key.offset
  }

  private mutating func addBitmap(_ key: Key, _ bytes: RawSpan) throws(FilesystemError) {
    guard position < layout.end else { throw .corrupt("a bitmap \(key) too many") }
    let bitmap = layout.bitmap(at: position)
    guard key == layout.bitmapKey(bitmap),
      bytes.byteCount == layout.bitmapSize(length: bitmap.length)
    else { throw .corrupt("an impossible bitmap \(key) of \(bytes.byteCount) bytes") }

    let sectors = Int(bitmap.length / layout.sectorSize)
    var run = 0..<0
    for sector in 0..<(bytes.byteCount * 8)
    where bytes.u8(sector / 8) & (1 << UInt8(sector % 8)) != 0 {
      guard sector < sectors else { throw .corrupt("a bitmap \(key) that leaves the group") }
      if run.upperBound == sector, !run.isEmpty {
        run = run.lowerBound..<sector + 1
      } else {
        try add(run, of: bitmap.start)
        run = sector..<sector + 1
      }
    }
    try add(run, of: bitmap.start)
    position = bitmap.start + bitmap.length
  }

  private func add(_ run: Range<Int>, of bitmap: UInt64) throws(FilesystemError) {
    guard !run.isEmpty else { return }
    try add(
      bitmap + UInt64(run.lowerBound) * layout.sectorSize, UInt64(run.count) * layout.sectorSize)
  }

  private func add(_ start: UInt64, _ length: UInt64) throws(FilesystemError) {
    do throws(FreeSpaceError) {
      try ranges.add(offset: start, length: length)
    } catch {
      throw .corrupt("a free range at \(start) of \(length) bytes: \(error)")
    }
  }
}

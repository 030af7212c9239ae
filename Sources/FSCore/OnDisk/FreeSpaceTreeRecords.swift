/// FREE_SPACE_INFO, 8 bytes: how the free space tree describes one block group (format §11.1).
package struct FreeSpaceInfo: Sendable, Equatable {
  /// The number of maximal free ranges, in whichever form.
  package var extentCount: UInt32
  package var flags: UInt32

  package static let size = 8

  /// The only flag: the group's items are bitmaps.
  package static let usingBitmaps: UInt32 = 1

  package init(extentCount: UInt32, usesBitmaps: Bool) {
    self.extentCount = extentCount
    flags = usesBitmaps ? Self.usingBitmaps : 0
  }

  package init(_ bytes: RawSpan) throws(FilesystemError) {
    guard bytes.byteCount == Self.size else {
      throw .corrupt("a free space info of \(bytes.byteCount) bytes")
    }
    extentCount = bytes.u32(0)
    flags = bytes.u32(4)
  }

  package var usesBitmaps: Bool { flags & Self.usingBitmaps != 0 }

  package func encode(into bytes: UnsafeMutableRawBufferPointer) {
    bytes.store(extentCount, at: 0)
    bytes.store(flags, at: 4)
  }
}

/// The numbers of the free space tree for a block group of one length.
package struct FreeSpaceTreeLayout: Sendable {
  package let start: UInt64
  package let length: UInt64
  package let sectorSize: UInt64

  /// What a whole FREE_SPACE_BITMAP has.
  package static let bitmapSize = 256

  /// - Parameters: a group that a free space index can describe.
  package init(start: UInt64, length: UInt64, sectorSize: UInt64) {
    self.start = start
    self.length = length
    self.sectorSize = sectorSize
  }

  package var end: UInt64 { start + length }

  /// What a whole bitmap covers.
  package var bitmapLength: UInt64 { UInt64(Self.bitmapSize) * 8 * sectorSize }

  package var bitmapCount: UInt64 { (length - 1) / bitmapLength + 1 }

  /// The bitmap that describes `address`, which is in the group.
  package func bitmap(at address: UInt64) -> (start: UInt64, length: UInt64) {
    let start = self.start + (address - self.start) / bitmapLength * bitmapLength
    return (start, min(bitmapLength, end - start))
  }

  package func bitmapSize(length: UInt64) -> Int { Int((length / sectorSize - 1) / 8 + 1) }

  /// The bits of a range within the bitmap that begins at `bitmap`.
  package func sectors(_ range: Range<UInt64>, of bitmap: UInt64) -> Range<Int> {
    Int((range.lowerBound - bitmap) / sectorSize)..<Int((range.upperBound - bitmap) / sectorSize)
  }

  /// A group with more ranges than this is described by bitmaps from then on: its extent items
  /// would take more room in the leaves.
  package var mostExtents: UInt64 {
    let header = UInt64(Format.itemHeaderSize)
    return bitmapCount * (header + UInt64(Self.bitmapSize)) / header
  }

  /// A group with fewer ranges than this is described by extents again. The distance to
  /// `mostExtents` is there so that a group does not go to and fro.
  package var fewestInBitmaps: UInt64 { mostExtents > 100 ? mostExtents - 100 : 0 }

  /// What the group's items take in the leaves at most, with their headers.
  package var mostBytes: UInt64 {
    let header = UInt64(Format.itemHeaderSize)
    let whole = header + UInt64(Self.bitmapSize)
    return header + UInt64(FreeSpaceInfo.size) + bitmapCount * whole
  }

  package var infoKey: Key { Key(ObjectID(start), .freeSpaceInfo, length) }

  package func extentKey(_ range: Range<UInt64>) -> Key {
    Key(ObjectID(range.lowerBound), .freeSpaceExtent, range.upperBound - range.lowerBound)
  }

  package func bitmapKey(_ bitmap: (start: UInt64, length: UInt64)) -> Key {
    Key(ObjectID(bitmap.start), .freeSpaceBitmap, bitmap.length)
  }

  /// Before and after all items of the group.
  package var firstKey: Key { Key(ObjectID(start), .untyped, 0) }
  package var lastKey: Key { Key(ObjectID(end - 1), ItemType(.max), .max) }
}

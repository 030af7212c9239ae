/// Changing a group that is described by bitmaps.
extension FreeSpaceTreeGroup {
  /// Sets or clears the bits of a range, all of which were the other way. Says by how much the
  /// number of ranges changes.
  func flip(
    _ range: Range<UInt64>, toFree: Bool, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Int {
    var position = range.lowerBound
    while position < range.upperBound {
      let bitmap = layout.bitmap(at: position)
      let end = min(range.upperBound, bitmap.start + bitmap.length)
      let size = layout.bitmapSize(length: bitmap.length)
      let sectors = layout.sectors(position..<end, of: bitmap.start)
      let isRight = try tree.modify(
        layout.bitmapKey(bitmap), in: handle
      ) { bytes throws(FilesystemError) -> Bool in
        guard bytes.count == size else { return false }
        let bits = FreeSpaceBits(bytes)
        guard bits.areAll(sectors, set: !toFree) else { return false }
        if toFree { bits.set(sectors) } else { bits.clear(sectors) }
        return true
      }
      handle.noteWhole()
      guard isRight == true else {
        throw .corrupt(
          "\(range.count) bytes at \(range.lowerBound) were \(toFree ? "freed" : "allocated"), "
            + "and its bitmaps say that they had been")
      }
      position = end
    }

    var isLeftFree = false
    if range.lowerBound > layout.start {
      isLeftFree = try isFree(range.lowerBound - layout.sectorSize)
    }
    let isRightFree = range.upperBound < layout.end ? try isFree(range.upperBound) : false
    let change = 1 - (isLeftFree ? 1 : 0) - (isRightFree ? 1 : 0)
    return toFree ? change : -change
  }

  private func isFree(_ address: UInt64) throws(FilesystemError) -> Bool {
    let bitmap = layout.bitmap(at: address)
    let size = layout.bitmapSize(length: bitmap.length)
    let sector = layout.sectors(address..<address + layout.sectorSize, of: bitmap.start).lowerBound
    let isFree = try tree.find(layout.bitmapKey(bitmap)) { bytes throws(FilesystemError) -> Bool? in
      guard bytes.byteCount == size else { return nil }
      return bytes.u8(sector / 8) & (1 << UInt8(sector % 8)) != 0
    }
    guard let isFree, let isFree else { throw .corrupt("its bitmap at \(bitmap.start) is gone") }
    return isFree
  }
}

/// The bits of one FREE_SPACE_BITMAP: one a sector, the lowest of a byte first, set where free.
struct FreeSpaceBits {
  private let bytes: UnsafeMutableRawBufferPointer

  init(_ bytes: UnsafeMutableRawBufferPointer) { self.bytes = bytes }

  func set(_ sectors: Range<Int>) {
    Self.forEachByte(of: sectors) { index, mask in bytes[index] |= mask }
  }

  func clear(_ sectors: Range<Int>) {
    Self.forEachByte(of: sectors) { index, mask in bytes[index] &= ~mask }
  }

  func areAll(_ sectors: Range<Int>, set: Bool) -> Bool {
    var areAll = true
    Self.forEachByte(of: sectors) { index, mask in
      areAll = areAll && bytes[index] & mask == (set ? mask : 0)
    }
    return areAll
  }

  @inline(__always)
  private static func forEachByte(of sectors: Range<Int>, _ body: (Int, UInt8) -> Void) {
    var position = sectors.lowerBound
    while position < sectors.upperBound {
      let byte = position / 8
      let end = min(sectors.upperBound, byte * 8 + 8)
      let count = end - position
      let mask = UInt8(truncatingIfNeeded: ((1 << count) - 1) << (position % 8))
      body(byte, mask)
      position = end
    }
  }
}

/// Rules of the items that say where data stands, and of its checksums.
extension LeafChecker {
  mutating func checkFileExtent(
    _ key: Key, _ data: UnsafeRawBufferPointer, _ isFirst: Bool
  ) throws(BrokenRule) {
    try require(isAligned(key.offset), "a file extent at an offset that is not aligned")
    try require(
      data.count >= FileExtentItem.inlineHeaderSize, "a file extent item that is too short")
    let ramBytes = data.u64(8)
    let compression = data.u8(0x10)
    try require(compression <= 3, "a file extent with unknown compression")
    try require(data.u8(0x11) == 0 && data.u16(0x12) == 0, "a file extent that is encrypted")
    // What limits the memory that reading it takes.
    try require(
      compression == 0 || ramBytes <= Format.longestCompressedExtent,
      "a compressed file extent that is too long")

    let length: UInt64
    switch data.u8(0x14) {
    case FileExtentItem.Kind.inline.rawValue:
      try checkInline(key, data, ramBytes: ramBytes, compression: compression)
      length = ramBytes.roundedUp(to: sectorSize)
    case FileExtentItem.Kind.regular.rawValue:
      length = try checkRegular(data, ramBytes: ramBytes, compression: compression)
    case FileExtentItem.Kind.preallocated.rawValue:
      try require(compression == 0, "a preallocated file extent that is compressed")
      length = try checkRegular(data, ramBytes: ramBytes, compression: compression)
    default:
      throw BrokenRule(text: "a file extent of unknown type")
    }

    let end = key.offset.addingReportingOverflow(length)
    try require(!end.overflow, "a file extent that ends beyond the largest offset")
    if !isFirst, previous.objectID == key.objectID, previous.type == .extentData {
      try require(previousEnd <= key.offset, "file extents that overlap")
    }
    previousEnd = end.partialValue
  }

  private func checkInline(
    _ key: Key, _ data: UnsafeRawBufferPointer, ramBytes: UInt64, compression: UInt8
  ) throws(BrokenRule) {
    let stored = UInt64(data.count - FileExtentItem.inlineHeaderSize)
    try require(key.offset == 0, "an inline file extent that is not at offset 0")
    try require(stored > 0 && ramBytes > 0, "an inline file extent without data")
    try require(
      compression != 0 || stored == ramBytes, "an inline file extent of the wrong size")
  }

  /// Returns the item's length in the file.
  private func checkRegular(
    _ data: UnsafeRawBufferPointer, ramBytes: UInt64, compression: UInt8
  ) throws(BrokenRule) -> UInt64 {
    try require(data.count == FileExtentItem.size, "a file extent item of the wrong size")
    let address = data.u64(0x15)
    let diskLength = data.u64(0x1d)
    let offset = data.u64(0x25)
    let length = data.u64(0x2d)
    try require(
      isAligned(ramBytes | address | diskLength | offset | length),
      "a file extent with numbers that are not aligned")
    try require(length > 0, "a file extent without length")
    guard address != 0 else { return length }

    try require(diskLength > 0, "a file extent that stands nowhere")
    try require(
      !address.addingReportingOverflow(diskLength).overflow,
      "a file extent that ends beyond the largest address")
    // Linux has written uncompressed extents whose ram_bytes was too small; what counts for
    // them is the length on the device.
    let whole = compression == 0 ? diskLength : ramBytes
    let end = offset.addingReportingOverflow(length)
    try require(
      !end.overflow && end.partialValue <= whole, "a file extent that leaves its extent")
    return length
  }

  mutating func checkChecksums(
    _ key: Key, _ data: UnsafeRawBufferPointer, _ isFirst: Bool
  ) throws(BrokenRule) {
    try require(key.objectID == .extentChecksum, "checksums with an impossible object id")
    try require(isAligned(key.offset), "checksums of an address that is not aligned")
    try require(
      data.count > 0 && data.count % checksumSize == 0, "a checksum item of the wrong size")
    let length = UInt64(data.count / checksumSize) * sectorSize
    let end = key.offset.addingReportingOverflow(length)
    try require(!end.overflow, "checksums beyond the largest address")
    if !isFirst, previous.type == .extentCsum {
      try require(previousEnd <= key.offset, "checksum items that overlap")
    }
    previousEnd = end.partialValue
  }
}

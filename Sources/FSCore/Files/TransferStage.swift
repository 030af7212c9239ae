/// The fourth stage of an ordered write: brings data to the device, and makes their checksums.
struct TransferStage: Sendable {
  let geometry: Geometry
  let device: LogicalDevice

  /// Returns the extent with a checksum for each sector that was written. Checksums are made piece
  /// by piece, of what the write brings into the processor's cache anyway.
  func transfer(
    _ extent: OrderedExtent, of batch: borrowing WriteBatch
  ) throws(FilesystemError) -> OrderedExtent {
    var extent = extent
    let isChecked = !batch.inode.hasUncheckedData
    if isChecked {
      let sectors = Int(extent.diskLength / geometry.sectorSize)
      extent.checksums = [UInt8](repeating: 0, count: sectors * geometry.checksumType.size)
    }
    switch extent.content {
    case .encoded(let buffer):
      try write(
        buffer.readable.part(0, Int(extent.diskLength)), to: &extent, at: 0, isChecked: isChecked)
    case .buffered:
      let start = extent.range.lowerBound
      try batch.forEachPiece(of: extent.range) { (offset, bytes) throws(FilesystemError) in
        try write(bytes, to: &extent, at: offset - start, isChecked: isChecked)
      }
    }
    extent.content = .buffered
    return extent
  }

  private func write(
    _ bytes: UnsafeRawBufferPointer, to extent: inout OrderedExtent, at offset: UInt64,
    isChecked: Bool
  ) throws(FilesystemError) {
    if isChecked {
      computeChecksums(bytes, into: &extent.checksums, from: Int(offset / geometry.sectorSize))
    }
    try device.write(bytes, at: extent.address + offset)
  }

  private func computeChecksums(
    _ bytes: UnsafeRawBufferPointer, into sums: inout [UInt8], from sector: Int
  ) {
    let type = geometry.checksumType
    sums.withUnsafeMutableBytes { sums in
      let first = sector * type.size
      type.computeEach(
        of: geometry.sectorBytes, in: bytes, into: sums.part(first, sums.count - first))
    }
  }
}

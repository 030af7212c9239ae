/// The third stage of an ordered write: gives pieces their places on the device.
///
/// Space goes by disk length: it was reserved by file length, and what an encoder saved of that is
/// given back with the rest of the batch's reservation.
struct PlaceStage: Sendable {
  let geometry: Geometry
  let space: Space
  let decompressed: DecompressedExtents

  /// Adds ordered extents for all of `piece`, more than one when free space is in pieces. What they
  /// take is taken off `reserved`.
  func place(
    _ piece: EncodedPiece, of batch: borrowing WriteBatch, reserved: inout UInt64,
    into extents: inout [OrderedExtent]
  ) throws(FilesystemError) {
    guard case .encoded = piece.content else {
      return try placeBuffered(piece.range, of: batch, reserved: &reserved, into: &extents)
    }
    do throws(FilesystemError) {
      let (address, _) = try allocate(
        piece.diskLength, minimum: piece.diskLength, of: batch, reserved: &reserved, after: extents)
      extents.append(OrderedExtent(piece, at: address))
    } catch .noSpace {
      // No free range is long enough. As it is, the piece may be divided.
      try placeBuffered(piece.range, of: batch, reserved: &reserved, into: &extents)
    }
  }

  private func placeBuffered(
    _ range: Range<UInt64>, of batch: borrowing WriteBatch, reserved: inout UInt64,
    into extents: inout [OrderedExtent]
  ) throws(FilesystemError) {
    var start = range.lowerBound
    while start < range.upperBound {
      let wanted = min(range.upperBound - start, Format.longestDataExtent)
      let (address, length) = try allocate(
        wanted, minimum: geometry.sectorSize, of: batch, reserved: &reserved, after: extents)
      extents.append(OrderedExtent(start..<(start + length), at: address, .new))
      start += length
    }
  }

  /// Allocates behind what was placed last, so that a file written in order is read in order.
  private func allocate(
    _ wanted: UInt64, minimum: UInt64, of batch: borrowing WriteBatch, reserved: inout UInt64,
    after extents: [OrderedExtent]
  ) throws(FilesystemError) -> (address: LogicalAddress, length: UInt64) {
    let hint = extents.last?.end ?? batch.inode.file.nextAddress
    let (address, length) = try space.allocator.allocateData(
      length: wanted, minimum: minimum, hint: hint, usingReserved: true)
    reserved -= min(length, reserved)
    decompressed.drop(address, length: length)
    return (address, length)
  }

  /// Gives back the space of an extent that does not become part of its file.
  func abandon(_ extent: OrderedExtent) {
    if extent.place == .new { space.allocator.abandon(extent.address, length: extent.diskLength) }
  }
}

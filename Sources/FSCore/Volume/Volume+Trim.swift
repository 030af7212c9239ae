/// Giving free space back to what the image stands on.
extension Volume {
  /// Discards what is free at the last commit and now: FITRIM, and `fsmount trim`. Returns how many
  /// bytes of the device that were. Throws `.unsupported` where the device cannot do that.
  ///
  /// - Parameters:
  ///   - start: the first logical address. What no chunk has is trimmed wherever this is.
  ///   - length: the highest number for all that follows.
  ///   - minimum: free ranges of block groups that are shorter stay, in bytes.
  package func trim(
    from start: UInt64 = 0, length: UInt64 = .max, minimum: UInt64 = 0
  ) throws(FilesystemError) -> UInt64 {
    if let reason = readOnlyReason { throw .readOnly(reason) }
    let range = try trimmedRange(from: start, length: length)
    // What was deleted is free once that is durable. Where there is no room for that, what is free
    // already may make some: no commit that is or may come to be on the device needs it.
    do throws(FilesystemError) {
      try commit()
    } catch {
      guard case .noRoom = error else { throw error }
    }
    let trimmed = try SpaceTrimmer(space: space, device: device, transactions: transactions)
      .trim(range, minimum: minimum)
    guard transactions.heldBack != nil else { return trimmed }
    // A later fsync tells how that goes.
    try? committer.requireRoom()
    return trimmed
  }

  /// Refuses what Linux refuses: less than a sector, a beginning that no range can have, and an end
  /// beyond the highest address, but for the length that means all.
  private func trimmedRange(
    from start: UInt64, length: UInt64
  ) throws(FilesystemError) -> Range<UInt64> {
    let (end, isBeyond) = start.addingReportingOverflow(length)
    guard length >= geometry.sectorSize, start < .max, !isBeyond || length == .max else {
      throw .invalidArgument("no range to trim: \(length) bytes from \(start) on")
    }
    return start..<(isBeyond ? .max : end)
  }

  /// The shortest free range that a trim with this minimum takes, as Linux says in its answer.
  package func shortestTrimmed(minimum: UInt64) -> UInt64 { max(minimum, geometry.sectorSize) }
}

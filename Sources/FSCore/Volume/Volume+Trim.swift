/// Giving free space back to what the image stands on.
extension Volume {
  /// Discards what is free at the last commit and now: FITRIM, and `fsmount trim`. Returns how many
  /// bytes of the device that were. Throws `.unsupported` where the device cannot do that.
  ///
  /// - Parameters:
  ///   - range: of logical addresses; 0 to the highest number for all.
  ///   - minimum: free ranges that are shorter stay, in bytes.
  package func trim(
    _ range: Range<UInt64> = 0..<UInt64.max, minimum: UInt64 = 0
  ) throws(FilesystemError) -> UInt64 {
    if let reason = readOnlyReason { throw .readOnly(reason) }
    // What was deleted is free once that is durable.
    try commit()
    return try SpaceTrimmer(space: space, device: device, transactions: transactions)
      .trim(range, minimum: minimum)
  }
}

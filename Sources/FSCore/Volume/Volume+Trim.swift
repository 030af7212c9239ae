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
    // How that goes whoever synchronizes is told.
    try? committer.requireRoom()
    return trimmed
  }
}

extension BalanceFilter {
  /// Whether a group that these are the figures of is to be moved; `limit` is left out.
  package func matches(_ chunk: Chunk, used: UInt64) -> Bool {
    let profile: Profile? =
      switch chunk.item.flags.intersection(.profiles) {
      case []: .single
      case .dup: .dup
      default: nil
      }
    if let profiles, profile.map(profiles.contains) != true { return false }
    if let usage, !Self.isUsed(used, of: chunk.length, in: usage) { return false }
    let stripes = chunk.item.stripes.filter { device == nil || $0.deviceID == device }
    if stripes.isEmpty { return false }
    if let deviceRange {
      let length = chunk.length / chunk.item.columns
      let hasPart = stripes.contains {
        $0.offset.rawValue < deviceRange.upperBound
          && $0.offset.rawValue + length > deviceRange.lowerBound
      }
      if !hasPart { return false }
    }
    if let range,
      chunk.start.rawValue >= range.upperBound || chunk.end.rawValue <= range.lowerBound
    {
      return false
    }
    return !(isSoft && target != nil && target == profile)
  }

  private static func isUsed(_ used: UInt64, of length: UInt64, in percent: Range<UInt32>) -> Bool {
    func bytes(_ percent: UInt32) -> UInt64 {
      percent >= 100
        ? length : length / 100 * UInt64(percent) + length % 100 * UInt64(percent) / 100
    }
    if used < bytes(percent.lowerBound) { return false }
    // 0 means empty groups, and more than 100 all, also full ones.
    return percent.upperBound > 100 || used < max(bytes(percent.upperBound), 1)
  }
}

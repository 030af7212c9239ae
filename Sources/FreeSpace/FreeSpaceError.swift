/// Why the index refused a range, or the encoder a cache. The index is unchanged.
package enum FreeSpaceError: Error, Equatable {
  /// The range is empty or not a whole number of sectors.
  case misaligned(offset: UInt64, length: UInt64)
  /// The range is not wholly inside the block group.
  case outsideGroup(offset: UInt64, length: UInt64)
  /// Part of the range is free already: a double free.
  case alreadyFree(offset: UInt64, length: UInt64)
  /// Part of the range is not free.
  case notFree(offset: UInt64, length: UInt64)
  /// The cache file is too small for its content. Nothing was written.
  case doesNotFit(neededPages: Int, availablePages: Int)
}

extension FreeSpaceError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .misaligned(let offset, let length):
      "range \(offset)+\(length) is not a whole number of sectors"
    case .outsideGroup(let offset, let length):
      "range \(offset)+\(length) lies outside the block group"
    case .alreadyFree(let offset, let length):
      "range \(offset)+\(length) is at least partly free already"
    case .notFree(let offset, let length):
      "range \(offset)+\(length) is not wholly free"
    case .doesNotFit(let needed, let available):
      "the free space needs \(needed) pages, its cache file has \(available)"
    }
  }
}

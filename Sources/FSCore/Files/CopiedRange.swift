/// A range of a file, and where it goes in the same file or another one.
struct CopiedRange: Sendable, Equatable {
  var from: UInt64
  var to: UInt64
  var length: UInt64

  /// Throws `.fileTooLarge` where either end is beyond what a file can have.
  init(from: UInt64, to: UInt64, length: UInt64) throws(FilesystemError) {
    if length > 0 {
      _ = try Format.fileRange(from, length)
      _ = try Format.fileRange(to, length)
    }
    self.from = from
    self.to = to
    self.length = length
  }

  private init(unchecked from: UInt64, _ to: UInt64, _ length: UInt64) {
    self.from = from
    self.to = to
    self.length = length
  }

  var sourceEnd: UInt64 { from + length }
  var targetEnd: UInt64 { to + length }

  /// Whether the two ranges have bytes in common, if they are of one file.
  var overlapsItself: Bool { from < targetEnd && to < sourceEnd }

  /// Without its first `count` bytes.
  func dropping(_ count: UInt64) -> CopiedRange {
    let count = min(count, length)
    return CopiedRange(unchecked: from + count, to + count, length - count)
  }

  /// The first `count` bytes, at most.
  func prefix(_ count: UInt64) -> CopiedRange {
    CopiedRange(unchecked: from, to, min(count, length))
  }
}

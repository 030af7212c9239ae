/// Numbers that the format fixes.
package enum Format {
  package static let magic: UInt64 = 0x4D5F_5366_5248_425F  // "_BHRfS_M"
  package static let superblockSize = 4096
  package static let superblockOffsets: [UInt64] = [0x10000, 0x400_0000, 0x40_0000_0000]
  package static let headerSize = 101
  package static let itemHeaderSize = 25
  package static let keyPointerSize = 33
  package static let maximumLevel: UInt8 = 7
  package static let stripeLength: UInt64 = 65536
  package static let maximumNameLength = 255
  package static let maximumLinkCount: UInt32 = 65535
  package static let systemChunkArraySize = 2048

  /// Where the first chunk of a device may begin.
  package static let reservedAtDeviceStart: UInt64 = 1 << 20

  /// Block groups below this length have no free space cache.
  package static let smallestCachedGroup: UInt64 = 100 << 20

  /// The longest data extent that is written.
  package static let longestDataExtent: UInt64 = 128 << 20

  /// No byte of a file stands beyond.
  package static let largestFileSize = UInt64(Int64.max)

  /// What one compressed extent holds at the most, uncompressed.
  package static let longestCompressedExtent: UInt64 = 128 << 10

  /// [offset, +length) of a file. Throws for a range without length, or beyond what a file can be.
  package static func fileRange(
    _ offset: UInt64, _ length: UInt64
  ) throws(FilesystemError) -> Range<UInt64> {
    guard length > 0 else { throw .invalidArgument("a range without length") }
    let (end, overflow) = offset.addingReportingOverflow(length)
    guard !overflow, end <= largestFileSize else { throw .fileTooLarge }
    return offset..<end
  }
}

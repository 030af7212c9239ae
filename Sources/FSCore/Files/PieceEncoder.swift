/// The second stage of an ordered write: decides what is stored for a range of a file that gets
/// new space.
///
/// 1. The pieces for a part are given in order, and together stand for all of its range.
/// 2. A piece that is stored as it is may be divided later, where free space is in pieces; any
///    other gets one range of the device, or is stored as it is after all.
/// 3. `diskLength` is a multiple of the sector size and no larger than `fileLength`, which was
///    reserved.
/// 4. What cannot be encoded is stored as it is: there are no errors here.
protocol PieceEncoder: Sendable {
  /// How the data of a batch of this file are to be compressed, if they are; asked once for each batch.
  func plan(for inode: Inode) -> CompressionPlan?

  /// - Parameter plan: what `plan(for:)` said, and what became of it with the parts before this one.
  func encode(
    _ part: Range<UInt64>, of batch: borrowing WriteBatch, by plan: inout CompressionPlan?,
    _ body: (EncodedPiece) throws(FilesystemError) -> Void
  ) throws(FilesystemError)
}

/// What is stored on the device for a range of a file.
struct EncodedPiece {
  enum Content {
    /// The bytes of the file, where they stand in the batch's cells.
    case buffered
    /// Other bytes, the first `diskLength` of these.
    case encoded(AlignedBuffer)
  }

  /// What it stands for.
  let range: Range<UInt64>
  let diskLength: UInt64
  let compression: FileExtentItem.Compression
  let content: Content

  var fileLength: UInt64 { range.upperBound - range.lowerBound }

  /// The range as it is.
  init(_ range: Range<UInt64>) {
    self.range = range
    diskLength = range.upperBound - range.lowerBound
    compression = .none
    content = .buffered
  }

  /// `bytes`, of which the first `diskLength` are the range in compressed form.
  init(
    _ range: Range<UInt64>, _ compression: FileExtentItem.Compression, _ bytes: AlignedBuffer,
    diskLength: UInt64
  ) {
    precondition(compression != .none && diskLength <= range.upperBound - range.lowerBound)
    precondition(diskLength > 0 && diskLength <= UInt64(bytes.count))
    self.range = range
    self.diskLength = diskLength
    self.compression = compression
    content = .encoded(bytes)
  }
}

/// A range of a file whose data are on their way to one range of the device: what Linux calls
/// an ordered extent.
///
/// Disk length and file length are apart: `diskLength` bytes on the device stand for `fileLength`
/// bytes of the file. Space and checksums go by the one, offsets and `nbytes` by the other.
struct OrderedExtent {
  /// What becomes part of the file: less than `fileLength` if the file was cut meanwhile.
  var range: Range<UInt64>
  let address: LogicalAddress
  /// How many bytes are written at `address`.
  let diskLength: UInt64
  /// How many bytes of the file they hold.
  let fileLength: UInt64
  let compression: FileExtentItem.Compression
  /// The bytes to write; `.buffered` once the device has them, so that memory for compressed ones goes.
  var content: EncodedPiece.Content
  let place: Place
  /// One for each sector on the device; empty when the file has none.
  var checksums: [UInt8] = []

  /// What stands at `address` so far.
  enum Place {
    /// Nothing: it was allocated for this.
    case new
    /// A preallocated extent of the file.
    case preallocated
    /// Data of the file, which are overwritten: it has no copy on write.
    case data
  }

  /// Bytes that are stored as they are in the file.
  init(_ range: Range<UInt64>, at address: LogicalAddress, _ place: Place) {
    self.range = range
    self.address = address
    self.place = place
    diskLength = range.upperBound - range.lowerBound
    fileLength = diskLength
    compression = .none
    content = .buffered
  }

  /// All of `piece`, in new space.
  init(_ piece: EncodedPiece, at address: LogicalAddress) {
    range = piece.range
    self.address = address
    place = .new
    diskLength = piece.diskLength
    fileLength = piece.fileLength
    compression = piece.compression
    content = piece.content
  }

  var end: LogicalAddress { address + diskLength }
}

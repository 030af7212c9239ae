import CCodecs

/// Reading compressed extents (format §8.3).
enum Decompression {
  /// Decompresses `input` into all of `output`; what the stream does not reach is zero, as the
  /// stream of a file's last extent may end with the file. False when it cannot be decompressed.
  static func decompress(
    _ compression: FileExtentItem.Compression, _ input: UnsafeRawBufferPointer,
    into output: UnsafeMutableRawBufferPointer, sectorSize: Int, _ context: CodecContext
  ) -> Bool {
    let produced: Int
    switch compression {
    case .none:
      produced = min(input.count, output.count)
      output.store(input.part(0, produced), at: 0)
    case .zlib:
      produced = ccodecs_zlib_decompress(
        context.pointer, input.baseAddress, input.count, output.baseAddress, output.count)
    case .zstd:
      produced = ccodecs_zstd_decompress(
        context.pointer, input.baseAddress, input.count, output.baseAddress, output.count)
    case .lzo:
      produced = lzo(input, into: output, sectorSize: sectorSize)
    }
    guard produced >= 0, produced <= output.count else { return false }
    output.part(produced, output.count - produced).zero()
    return true
  }

  /// A total length, then segments of one sector each behind their lengths; no length crosses a
  /// sector boundary of the input. Returns -1 for what breaks that.
  private static func lzo(
    _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, sectorSize: Int
  ) -> Int {
    guard input.count >= 8 else { return -1 }
    let total = Int(input.u32(0))
    guard total > 8, total <= input.count else { return -1 }

    var position = 4
    var produced = 0
    while position < total && produced < output.count {
      let leftInSector = sectorSize - position % sectorSize
      if leftInSector < 4 { position += leftInSector }
      guard position + 4 <= total else { break }
      let length = Int(input.u32(position))
      position += 4
      guard length > 0, length <= total - position else { return -1 }

      let room = min(sectorSize, output.count - produced)
      let count = ccodecs_lzo1x_decompress(
        input.baseAddress! + position, length, output.baseAddress! + produced, room)
      guard count >= 0 else { return -1 }
      position += length
      produced += count
      // Only the last segment may be shorter than a sector.
      if count < room { break }
    }
    return produced
  }
}

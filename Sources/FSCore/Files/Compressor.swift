import CCodecs

/// Making compressed extents (format §8.3).
enum Compressor {
  /// Compresses `input`, no more than `Format.longestCompressedExtent`, into the first bytes of
  /// `output`. Returns how many these are; nil when there are more than it has room for.
  static func compress(
    _ method: CompressionMethod, _ input: UnsafeRawBufferPointer,
    into output: UnsafeMutableRawBufferPointer, sectorSize: Int, _ context: CodecContext
  ) -> Int? {
    let produced: Int
    switch method.algorithm {
    case .none:
      return nil
    case .zlib:
      produced = ccodecs_zlib_compress(
        context.pointer, Int32(method.level), input.baseAddress, input.count, output.baseAddress,
        output.count)
    case .zstd:
      produced = ccodecs_zstd_compress(
        context.pointer, Int32(method.level), input.baseAddress, input.count, output.baseAddress,
        output.count)
    case .lzo:
      return lzo(input, into: output, sectorSize: sectorSize, context)
    }
    return produced > 0 && produced <= output.count ? produced : nil
  }

  /// The total length, then each sector of the input by itself behind its length. A length that would
  /// cross a sector boundary of the output begins behind it.
  private static func lzo(
    _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, sectorSize: Int,
    _ context: CodecContext
  ) -> Int? {
    var position = 4
    var done = 0
    while done < input.count {
      let left = sectorSize - position % sectorSize
      if left < 4 {
        guard position + left <= output.count else { return nil }
        output.part(position, left).zero()
        position += left
      }
      guard position + 4 < output.count else { return nil }
      let segment = input.part(done, min(sectorSize, input.count - done))
      let room = output.part(position + 4, output.count - position - 4)
      let produced = ccodecs_lzo1x_compress(
        context.pointer, segment.baseAddress, segment.count, room.baseAddress, room.count)
      guard produced > 0 else { return nil }
      output.store(UInt32(produced), at: position)
      position += 4 + produced
      done += segment.count
    }
    output.store(UInt32(position), at: 0)
    return position
  }
}

/// Writes tree blocks to the device: checksummed, every copy, neighbours in one piece.
struct BlockWriter {
  let device: LogicalDevice
  let geometry: Geometry

  /// The most that is written in one piece, in bytes.
  private static let pieceSize = 1 << 20

  /// Writes blocks that are sorted by address. They do not change meanwhile.
  func write(_ blocks: [TreeBlock]) throws(FilesystemError) {
    let size = geometry.nodeBytes
    let perPiece = max(Self.pieceSize / size, 1)
    let staging = AlignedBuffer(count: min(perPiece, blocks.count) * size)
    var first = 0
    while first < blocks.count {
      let chunk = try device.chunks.chunk(containing: blocks[first].address)
      var number = 1
      while number < perPiece, first + number < blocks.count,
        blocks[first + number].address == blocks[first].address + UInt64(number * size),
        chunk.contains(blocks[first + number].address)
      {
        number += 1
      }
      for index in 0..<number {
        let target = staging.bytes.part(index * size, size)
        blocks[first + index].copyContent(to: target)
        geometry.checksumType.seal(target)
      }
      try device.write(staging.readable.part(0, number * size), at: blocks[first].address)
      first += number
    }
  }
}

/// Writes tree blocks to the device: checksummed, every copy, neighbours in one go.
struct BlockWriter {
  let device: LogicalDevice
  let geometry: Geometry

  /// The most blocks that are written in one go.
  private static let longestRun = 256

  /// Writes blocks that are sorted by address. They do not change meanwhile, but for their
  /// checksums, which are filled in here.
  func write(_ blocks: [TreeBlock]) throws(FilesystemError) {
    var pieces: [UnsafeRawBufferPointer] = []
    var first = 0
    while first < blocks.count {
      let chunk = try device.chunks.chunk(containing: blocks[first].address)
      pieces.removeAll(keepingCapacity: true)
      var next = blocks[first].address
      repeat {
        let block = blocks[first + pieces.count]
        geometry.checksumType.seal(block.buffer.bytes)
        pieces.append(block.buffer.readable)
        next = next + geometry.nodeSize
      } while pieces.count < Self.longestRun && first + pieces.count < blocks.count
        && blocks[first + pieces.count].address == next && chunk.contains(next)
      try device.write(pieces, at: blocks[first].address)
      first += pieces.count
    }
  }
}

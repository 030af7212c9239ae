/// Writes tree blocks: checksummed, every copy, neighbours in one piece, all pieces submitted at
/// once.
struct BlockWriter {
  let device: LogicalDevice
  let geometry: Geometry

  /// The most blocks that are one piece.
  private static let longestRun = 256

  /// Writes blocks that are sorted by address. They do not change meanwhile, but for their
  /// checksums, which are filled in here.
  func write(_ blocks: [TreeBlock]) throws(FilesystemError) {
    var writes: [DeviceID: [DeviceWrite]] = [:]
    var first = 0
    while first < blocks.count {
      // Blocks that are neighbours by their logical addresses are so on a device only within a
      // chunk.
      let start = blocks[first].address
      let chunk = try device.chunks.chunk(containing: start)
      let mirrors = try device.chunks.mirrors(at: start)
      guard !mirrors.isEmpty else { throw .onOtherDevice(start) }

      var pieces: [UnsafeRawBufferPointer] = []
      var next = start
      repeat {
        let block = blocks[first + pieces.count]
        geometry.checksumType.seal(block.buffer.bytes)
        pieces.append(block.buffer.readable)
        next = next + geometry.nodeSize
      } while pieces.count < Self.longestRun && first + pieces.count < blocks.count
        && blocks[first + pieces.count].address == next && chunk.contains(next)

      for mirror in mirrors {
        writes[mirror.device, default: []].append(
          DeviceWrite(pieces, at: mirror.offset + (start - chunk.start)))
      }
      first += pieces.count
    }
    try device.devices.write(writes)
  }
}

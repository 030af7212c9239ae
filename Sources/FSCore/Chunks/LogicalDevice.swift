/// The device by logical addresses. Data on one device is single or DUP: every copy is written,
/// any is read.
///
/// A range that is read or written lies in one chunk, as every extent does.
package final class LogicalDevice: Sendable {
  package let device: any BlockDevice
  package let chunks: ChunkMap
  package let repairs = MirrorRepairs()

  package init(device: any BlockDevice, chunks: ChunkMap) {
    self.device = device
    self.chunks = chunks
  }

  /// How many copies there are of what stands at `address`: none when it is on another device.
  package func copies(at address: LogicalAddress) throws(FilesystemError) -> Int {
    try chunks.chunk(containing: address).copies.count
  }

  /// Where copy `copy` of a range stands on the device.
  package func locate(
    _ address: LogicalAddress, length: Int, copy: Int
  ) throws(FilesystemError) -> PhysicalAddress {
    let chunk = try chunks.chunk(containing: address)
    guard !chunk.copies.isEmpty else { throw .onOtherDevice(address) }
    let offset = address - chunk.start
    guard UInt64(length) <= chunk.length - offset, chunk.copies.indices.contains(copy) else {
      throw .corrupt("the range of \(length) bytes at \(address) leaves its chunk")
    }
    return chunk.copies[copy] + offset
  }

  package func read(
    into buffer: UnsafeMutableRawBufferPointer, at address: LogicalAddress, copy: Int = 0
  ) throws(FilesystemError) {
    try device.read(into: buffer, at: locate(address, length: buffer.count, copy: copy))
  }

  /// Writes every copy.
  package func write(
    _ bytes: UnsafeRawBufferPointer, at address: LogicalAddress
  ) throws(FilesystemError) {
    for copy in 0..<(try copies(at: address)) {
      try writeCopy(bytes, at: address, copy: copy)
    }
  }

  /// Writes every copy of pieces that stand one behind the other.
  package func write(
    _ pieces: [UnsafeRawBufferPointer], at address: LogicalAddress
  ) throws(FilesystemError) {
    let length = pieces.reduce(0) { $0 + $1.count }
    for copy in 0..<(try copies(at: address)) {
      try device.write(pieces, at: locate(address, length: length, copy: copy))
    }
  }

  package func writeCopy(
    _ bytes: UnsafeRawBufferPointer, at address: LogicalAddress, copy: Int
  ) throws(FilesystemError) {
    try device.write(bytes, at: locate(address, length: bytes.count, copy: copy))
  }

  package func flush() throws(FilesystemError) { try device.flush() }
}

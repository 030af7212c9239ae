/// The devices by logical addresses: every mirror is written, any is read.
///
/// A range that is read or written lies in one chunk, as every extent does.
package final class LogicalDevice: Sendable {
  package let chunks: ChunkMap
  package let repairs = MirrorRepairs()
  /// Entered by whoever looks up where something stands and reads it.
  package let reuse = ReuseGuard()

  package init(chunks: ChunkMap) { self.chunks = chunks }

  package var devices: DeviceSet { chunks.devices }

  /// How many copies there are of what stands at `address`: none when it is on another device.
  package func copies(at address: LogicalAddress) throws(FilesystemError) -> Int {
    try chunks.mirrorCount(at: address)
  }

  /// Where copy `copy` of a range stands.
  package func locate(
    _ address: LogicalAddress, length: Int, copy: Int
  ) throws(FilesystemError) -> DeviceAddress {
    try chunks.segment(address, length: length, mirror: copy)
  }

  package func read(
    into buffer: UnsafeMutableRawBufferPointer, at address: LogicalAddress, copy: Int = 0
  ) throws(FilesystemError) {
    try devices.read(into: buffer, at: locate(address, length: buffer.count, copy: copy))
  }

  /// Says that the first copy of a range will be read soon.
  package func expectRead(_ length: Int, at address: LogicalAddress) {
    // What cannot be located fails when it is read.
    guard let place = try? locate(address, length: length, copy: 0) else { return }
    devices.expectRead(length, at: place)
  }

  /// Writes every copy.
  package func write(
    _ bytes: UnsafeRawBufferPointer, at address: LogicalAddress
  ) throws(FilesystemError) {
    let count = try copies(at: address)
    guard count > 0 else { throw .onOtherDevice(address) }
    for copy in 0..<count { try writeCopy(bytes, at: address, copy: copy) }
  }

  /// Writes every copy of pieces that stand one behind the other.
  package func write(
    _ pieces: [UnsafeRawBufferPointer], at address: LogicalAddress
  ) throws(FilesystemError) {
    let length = pieces.reduce(0) { $0 + $1.count }
    let count = try copies(at: address)
    guard count > 0 else { throw .onOtherDevice(address) }
    for copy in 0..<count {
      try devices.write(pieces, at: locate(address, length: length, copy: copy))
    }
  }

  package func writeCopy(
    _ bytes: UnsafeRawBufferPointer, at address: LogicalAddress, copy: Int
  ) throws(FilesystemError) {
    try devices.write(bytes, at: locate(address, length: bytes.count, copy: copy))
  }

  /// Lets go of every copy of a range that holds nothing.
  package func discard(_ length: UInt64, at address: LogicalAddress) throws(FilesystemError) {
    for copy in 0..<(try copies(at: address)) {
      try devices.discard(
        length, at: locate(address, length: Int(clamping: length), copy: copy))
    }
  }

  package func flush() throws(FilesystemError) { try devices.flush() }
}

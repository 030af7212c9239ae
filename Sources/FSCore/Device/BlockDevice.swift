/// Pieces of memory that are to stand one behind the other on a device.
package struct DeviceWrite {
  package var pieces: [UnsafeRawBufferPointer]
  package var offset: PhysicalAddress

  package init(_ pieces: [UnsafeRawBufferPointer], at offset: PhysicalAddress) {
    self.pieces = pieces
    self.offset = offset
  }
}

/// Where an image's bytes are: a file, a block device, or memory in tests.
///
/// 1. A read after a finished write sees it.
/// 2. What was written before `flush` began is durable when it returns; between two flushes
///    writes may reach the device in any order, or not at all.
/// 3. Every call may come from any thread.
/// 4. A write that throws `.noRoom` may have been made in part, and has lost nothing else: made again
///    as a whole it may succeed. After a flush that has failed, whatever it says, nobody knows which
///    of the earlier writes are lost.
///
/// Offsets and lengths are any number of bytes inside the device; a range that is not is an error.
package protocol BlockDevice: AnyObject, Sendable {
  var sizeBytes: UInt64 { get }

  func read(
    into buffer: UnsafeMutableRawBufferPointer, at address: PhysicalAddress
  ) throws(FilesystemError)

  /// Says that a range will be read soon, so that it can be on its way before it is asked for. It is
  /// a hint: nothing is waited for, and nothing can fail.
  func expectRead(_ length: Int, at address: PhysicalAddress)

  func write(_ bytes: UnsafeRawBufferPointer, at address: PhysicalAddress) throws(FilesystemError)

  /// Writes pieces of memory one behind the other. To the device they are one write or several.
  func write(
    _ pieces: [UnsafeRawBufferPointer], at address: PhysicalAddress
  ) throws(FilesystemError)

  /// Writes to several places, all submitted before any is waited for where the device can do that.
  /// After an error some may be done and others not.
  func write(_ writes: [DeviceWrite]) throws(FilesystemError)

  func flush() throws(FilesystemError)

  /// Lets go of what a range holds: it is not read again before it is written. Throws
  /// `.unsupported` where the device cannot do that.
  func discard(_ length: UInt64, at address: PhysicalAddress) throws(FilesystemError)

  /// Makes the device longer, or cuts off its end, in which nobody reads or writes any more. Throws
  /// `.unsupported` where that cannot be done: a block device has the size that it has, but may have
  /// grown since it was opened.
  func resize(to bytes: UInt64) throws(FilesystemError)
}

extension BlockDevice {
  package func expectRead(_ length: Int, at address: PhysicalAddress) {}

  package func resize(to bytes: UInt64) throws(FilesystemError) {
    throw .unsupported("the device has the size that it has")
  }

  package func discard(
    _ length: UInt64, at address: PhysicalAddress
  ) throws(FilesystemError) {
    throw .unsupported("the device cannot let go of single ranges")
  }

  package func write(_ writes: [DeviceWrite]) throws(FilesystemError) {
    for write in writes { try self.write(write.pieces, at: write.offset) }
  }

  package func write(
    _ pieces: [UnsafeRawBufferPointer], at address: PhysicalAddress
  ) throws(FilesystemError) {
    var address = address
    for piece in pieces {
      try write(piece, at: address)
      address = address + UInt64(piece.count)
    }
  }

  /// Throws unless the range is inside the device.
  func check(
    _ operation: StaticString, _ address: PhysicalAddress, _ count: Int
  ) throws(FilesystemError) {
    let (end, overflow) = address.rawValue.addingReportingOverflow(UInt64(count))
    guard !overflow, end <= sizeBytes else {
      throw .device(operation: operation, offset: address.rawValue, code: 5)
    }
  }
}

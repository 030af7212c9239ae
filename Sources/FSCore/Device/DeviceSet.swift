/// A byte of one of a file system's devices.
package struct DeviceAddress: Hashable, Sendable {
  package let device: DeviceID
  package let offset: PhysicalAddress

  package init(device: DeviceID, offset: PhysicalAddress) {
    self.device = device
    self.offset = offset
  }

  @inline(__always)
  package static func + (a: Self, bytes: UInt64) -> Self {
    Self(device: a.device, offset: a.offset + bytes)
  }
}

/// The devices of a file system that are open, by the numbers that it gave them.
///
/// 1. There is one at least, each number stands for one device, and none comes or goes.
/// 2. A file system may have more of them: what stands on those cannot be had (`.onOtherDevice`).
///    Today one is opened.
/// 3. A mounted volume reads, writes, discards and flushes through here only. Debug builds trap where
///    a thread does so while it holds a lock that must not wait for a device
///    (`HeldLocks.assertMayUseDevice`).
package final class DeviceSet: Sendable {
  package struct Member: Sendable {
    package let id: DeviceID
    package let device: any BlockDevice
  }

  package let members: [Member]

  package init(_ device: any BlockDevice, id: DeviceID) {
    members = [Member(id: id, device: device)]
  }

  /// Nil for a device that is not open.
  @inline(__always)
  package subscript(id: DeviceID) -> (any BlockDevice)? {
    for member in members where member.id == id { return member.device }
    return nil
  }

  /// Throws when a device is asked for that is not open, which a chunk's mirrors never are.
  private func device(at address: DeviceAddress) throws(FilesystemError) -> any BlockDevice {
    guard let device = self[address.device] else {
      throw .corrupt("device \(address.device) is not open")
    }
    return device
  }

  package func read(
    into buffer: UnsafeMutableRawBufferPointer, at address: DeviceAddress
  ) throws(FilesystemError) {
    HeldLocks.assertMayUseDevice()
    try device(at: address).read(into: buffer, at: address.offset)
  }

  package func expectRead(_ length: Int, at address: DeviceAddress) {
    HeldLocks.assertMayUseDevice()
    self[address.device]?.expectRead(length, at: address.offset)
  }

  package func write(
    _ bytes: UnsafeRawBufferPointer, at address: DeviceAddress
  ) throws(FilesystemError) {
    HeldLocks.assertMayUseDevice()
    try device(at: address).write(bytes, at: address.offset)
  }

  /// Writes pieces of memory one behind the other.
  package func write(
    _ pieces: [UnsafeRawBufferPointer], at address: DeviceAddress
  ) throws(FilesystemError) {
    HeldLocks.assertMayUseDevice()
    try device(at: address).write(pieces, at: address.offset)
  }

  /// Writes to several places, each device being given all of its own at once.
  package func write(_ writes: [DeviceID: [DeviceWrite]]) throws(FilesystemError) {
    HeldLocks.assertMayUseDevice()
    for member in members {
      if let ofDevice = writes[member.id] { try member.device.write(ofDevice) }
    }
  }

  package func discard(
    _ length: UInt64, at address: DeviceAddress
  ) throws(FilesystemError) {
    HeldLocks.assertMayUseDevice()
    try device(at: address).discard(length, at: address.offset)
  }

  /// Makes durable what was written to any of them.
  package func flush() throws(FilesystemError) {
    HeldLocks.assertMayUseDevice()
    for member in members { try member.device.flush() }
  }
}

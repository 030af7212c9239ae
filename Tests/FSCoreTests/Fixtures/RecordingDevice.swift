@testable import FSCore

/// A device that remembers every write and flush since it was made, so that the images a power
/// cut would leave can be put together.
final class RecordingDevice: BlockDevice, @unchecked Sendable {
  enum Event {
    case write(offset: UInt64, bytes: [UInt8])
    case flush
  }

  let sizeBytes: UInt64
  private let memory: MemoryDevice
  private let events = Guarded<[Event]>([], rank: .leaf)

  /// What the device holds before the first event.
  private let base: MemoryDevice

  /// - Parameter base: is copied, not changed.
  init(base: MemoryDevice) throws {
    self.base = base
    sizeBytes = base.sizeBytes
    memory = try base.copy()
  }

  func read(
    into buffer: UnsafeMutableRawBufferPointer, at address: PhysicalAddress
  ) throws(FilesystemError) {
    try memory.read(into: buffer, at: address)
  }

  func write(
    _ bytes: UnsafeRawBufferPointer, at address: PhysicalAddress
  ) throws(FilesystemError) {
    try memory.write(bytes, at: address)
    events.withLock { $0.append(.write(offset: address.rawValue, bytes: Array(bytes))) }
  }

  func flush() throws(FilesystemError) {
    events.withLock { $0.append(.flush) }
  }

  var recorded: [Event] { events.withLock { $0 } }

  /// The image after the first `count` events of `recorded`, of which those after the last flush
  /// may not have reached the device: `keep` says which sectors of which did.
  ///
  /// - Parameter keep: asked for each sector of each write that no flush follows.
  func image(
    after count: Int, of recorded: [Event], keep: (_ event: Int, _ sector: Int) -> Bool
  ) throws -> MemoryDevice {
    let image = try base.copy()
    let lastFlush =
      recorded[0..<count].lastIndex {
        if case .flush = $0 { return true } else { return false }
      } ?? -1
    for index in 0..<count {
      guard case .write(let offset, let bytes) = recorded[index] else { continue }
      try bytes.withUnsafeBytes { source in
        if index < lastFlush {
          try image.write(source, at: PhysicalAddress(offset))
          return
        }
        var at = 0
        while at < source.count {
          let length = min(4096, source.count - at)
          if keep(index, at / 4096) {
            try image.write(
              UnsafeRawBufferPointer(rebasing: source[at..<(at + length)]),
              at: PhysicalAddress(offset + UInt64(at)))
          }
          at += length
        }
      }
    }
    return image
  }
}

import Logging

/// Reads what has several copies, as long as one of them is good.
///
/// 1. This is the one loop that does so. Copies are tried in order; one is good when it can be read
///    and the caller's check accepts it.
/// 2. When none is good the error is that of the first.
/// 3. Bad copies before the good one are written anew from it, if the image may be written
///    (`LogicalDevice.repairs`) and the reader was not told to keep quiet.
package struct MirroredReader: Sendable {
  package let device: LogicalDevice
  /// Where bad copies are told of; nil for a reader that says nothing and mends nothing.
  package let log: Logger?

  package init(device: LogicalDevice, log: Logger?) {
    self.device = device
    self.log = log
  }

  /// A copy that could not be used.
  package struct BadMirror: Sendable {
    package let mirror: Int
    package let error: FilesystemError
  }

  /// Fills `buffer` from the first copy that `check` accepts.
  ///
  /// - Parameters:
  ///   - what: names what is read, at the beginning of a line of the log.
  ///   - check: looks at what was read; may be called once for each copy.
  /// - Returns: what `check` made of the good copy, and the bad ones before it.
  package func read<R>(
    into buffer: UnsafeMutableRawBufferPointer, at address: LogicalAddress,
    of what: () -> String,
    _ check: (UnsafeRawBufferPointer) throws(FilesystemError) -> R
  ) throws(FilesystemError) -> (value: R, bad: [BadMirror]) {
    let bytes = UnsafeRawBufferPointer(buffer)
    let count = try device.copies(at: address)
    do throws(FilesystemError) {
      let (value, bad) = try Self.firstGood(of: count, at: address) {
        (mirror) throws(FilesystemError) in
        try device.read(into: buffer, at: address, copy: mirror)
        return try check(bytes)
      }
      if !bad.isEmpty { mend(bad, of: count, at: address, from: bytes, what()) }
      return (value, bad)
    } catch {
      log?.error("\(what()): \(error)")
      throw error
    }
  }

  /// The loop itself, for what does not stand in one piece: what `attempt` gives for the first
  /// copy with which it does not throw.
  package static func firstGood<R>(
    of count: Int, at address: LogicalAddress,
    _ attempt: (_ mirror: Int) throws(FilesystemError) -> R
  ) throws(FilesystemError) -> (value: R, bad: [BadMirror]) {
    var bad: [BadMirror] = []
    for mirror in 0..<count {
      do throws(FilesystemError) {
        return (try attempt(mirror), bad)
      } catch {
        bad.append(BadMirror(mirror: mirror, error: error))
      }
    }
    throw bad.first?.error ?? .onOtherDevice(address)
  }

  private func mend(
    _ bad: [BadMirror], of count: Int, at address: LogicalAddress,
    from good: UnsafeRawBufferPointer, _ what: String
  ) {
    guard let log else { return }
    for copy in bad {
      let name = "\(what): copy \(copy.mirror + 1) of \(count)"
      log.warning("\(name) is bad, another is used: \(copy.error)")
      let mayWrite = device.repairs.mayWrite {
        MirrorRepairs.Repair(
          address: address, mirror: copy.mirror, bytes: Array(good), what: name)
      }
      if mayWrite { write(good, copy.mirror, at: address, name) }
    }
  }

  private func write(
    _ good: UnsafeRawBufferPointer, _ mirror: Int, at address: LogicalAddress, _ name: String
  ) {
    do throws(FilesystemError) {
      try device.writeCopy(good, at: address, copy: mirror)
      log?.notice("\(name) is written anew")
    } catch {
      log?.error("\(name) cannot be written anew: \(error)")
    }
  }

  /// Says that the image may be written, and mends what was found bad before that was known.
  package func allowRepairs() {
    for repair in device.repairs.allow() {
      repair.bytes.withUnsafeBytes {
        write($0, repair.mirror, at: repair.address, repair.what)
      }
    }
  }
}

import Glibc

/// Contents that say themselves what they must be: a header with seed and length, then bytes that
/// follow from the seed.
package enum SelfVerifyingFile {
  package static let headerSize = 24
  private static let magic: UInt64 = 0x6673_6d6f_756e_7421

  /// Fills the buffer; it must have room for the header.
  package static func fill(_ buffer: UnsafeMutableRawBufferPointer, seed: UInt64) {
    precondition(buffer.count >= headerSize)
    buffer.storeBytes(of: magic, as: UInt64.self)
    buffer.storeBytes(of: seed, toByteOffset: 8, as: UInt64.self)
    buffer.storeBytes(of: UInt64(buffer.count), toByteOffset: 16, as: UInt64.self)
    var random = SeededRandom(seed: seed)
    random.fillNonZero(UnsafeMutableRawBufferPointer(rebasing: buffer[headerSize...]))
  }

  /// Nil when the bytes are what they should be, else what is wrong.
  package static func defect(in bytes: UnsafeRawBufferPointer) -> String? {
    guard bytes.count >= headerSize else { return "has only \(bytes.count) bytes" }
    guard bytes.load(as: UInt64.self) == magic else { return "does not start with the mark" }
    let seed = bytes.load(fromByteOffset: 8, as: UInt64.self)
    let length = bytes.load(fromByteOffset: 16, as: UInt64.self)
    guard length == UInt64(bytes.count) else {
      return "has \(bytes.count) bytes and should have \(length)"
    }
    let expected = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 8)
    defer { expected.deallocate() }
    fill(expected, seed: seed)
    guard memcmp(expected.baseAddress!, bytes.baseAddress!, bytes.count) != 0 else { return nil }
    let offset = (0..<bytes.count).first { expected[$0] != bytes[$0] } ?? 0
    return "of seed \(seed) is wrong from byte \(offset) on"
  }

  /// Creates or replaces a file with such contents.
  package static func write(
    _ path: BytePath, seed: UInt64, length: Int, buffer: UnsafeMutableRawBufferPointer
  ) throws(SystemError) {
    let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<length])
    fill(part, seed: seed)
    let descriptor = try check("create \(path)") {
      path.withCPath { open($0, O_CREAT | O_TRUNC | O_WRONLY, 0o644) }
    }
    defer { close(descriptor) }
    var done = 0
    while done < length {
      done += try check("write \(path)") {
        Glibc.write(descriptor, part.baseAddress! + done, length - done)
      }
    }
  }

  /// Reads a file and checks it; false when there is none.
  package static func verify(
    _ path: BytePath, buffer: UnsafeMutableRawBufferPointer
  ) throws -> Bool {
    let descriptor = path.withCPath { open($0, O_RDONLY) }
    if descriptor < 0, errno == ENOENT { return false }
    try check("open \(path)") { descriptor }
    defer { close(descriptor) }
    var total = 0
    while total < buffer.count {
      let count = try check("read \(path)") {
        read(descriptor, buffer.baseAddress! + total, buffer.count - total)
      }
      if count == 0 { break }
      total += count
    }
    if let defect = defect(in: UnsafeRawBufferPointer(rebasing: buffer[..<total])) {
      throw TestFailure("\(path) \(defect)")
    }
    return true
  }
}

import Glibc

/// Little-endian numbers at any alignment, as all of the format's are.
extension RawSpan {
  /// Traps when the number would lie outside the span.
  @inline(__always)
  func littleEndian<T: FixedWidthInteger & BitwiseCopyable>(
    _ offset: Int, as: T.Type = T.self
  ) -> T {
    T(littleEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: T.self))
  }

  @inline(__always) func u8(_ offset: Int) -> UInt8 { littleEndian(offset) }
  @inline(__always) func u16(_ offset: Int) -> UInt16 { littleEndian(offset) }
  @inline(__always) func u32(_ offset: Int) -> UInt32 { littleEndian(offset) }
  @inline(__always) func u64(_ offset: Int) -> UInt64 { littleEndian(offset) }

  /// Sixteen bytes as they stand: a UUID, whose bytes have no order.
  @inline(__always) func uuid(_ offset: Int) -> UUIDBytes {
    UUIDBytes(rawValue: littleEndian(offset))
  }

  /// The bytes from `offset` on, `count` of them, as an array.
  func array(_ offset: Int, _ count: Int) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      extracting(offset..<(offset + count)).withUnsafeBytes { source in
        UnsafeMutableRawBufferPointer(buffer).copyMemory(from: source)
      }
      initialized = count
    }
  }
}

extension UnsafeRawBufferPointer {
  /// Traps when the number would lie outside.
  @inline(__always)
  func littleEndian<T: FixedWidthInteger & BitwiseCopyable>(
    _ offset: Int, as: T.Type = T.self
  ) -> T {
    precondition(offset >= 0 && offset <= count - MemoryLayout<T>.size)
    return T(littleEndian: loadUnaligned(fromByteOffset: offset, as: T.self))
  }

  @inline(__always) func u8(_ offset: Int) -> UInt8 { littleEndian(offset) }
  @inline(__always) func u16(_ offset: Int) -> UInt16 { littleEndian(offset) }
  @inline(__always) func u32(_ offset: Int) -> UInt32 { littleEndian(offset) }
  @inline(__always) func u64(_ offset: Int) -> UInt64 { littleEndian(offset) }

  /// The bytes of `range` alone. Traps when the range is not inside.
  @inline(__always)
  func part(_ offset: Int, _ count: Int) -> UnsafeRawBufferPointer {
    // Slicing checks this in debug builds only.
    precondition(offset >= 0 && count >= 0 && count <= self.count - offset)
    return UnsafeRawBufferPointer(rebasing: self[offset..<(offset + count)])
  }
}

extension UnsafeRawBufferPointer {
  /// Whether no byte is other than 0.
  package var isZero: Bool {
    guard let base = baseAddress, count > 0 else { return true }
    // Each byte is the one before it, and the first is 0.
    return self[0] == 0 && memcmp(base, base + 1, count - 1) == 0
  }
}

extension UnsafeMutableRawBufferPointer {
  @inline(__always)
  func store<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) {
    precondition(offset >= 0 && offset + MemoryLayout<T>.size <= count)
    storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
  }

  @inline(__always)
  func store(_ value: UUIDBytes, at offset: Int) { store(value.rawValue, at: offset) }

  /// Copies `bytes` to `offset`.
  func store(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
    precondition(offset >= 0 && offset + bytes.count <= count)
    if bytes.count > 0 {
      UnsafeMutableRawBufferPointer(rebasing: self[offset...]).copyMemory(from: bytes)
    }
  }

  func store(_ bytes: [UInt8], at offset: Int) {
    bytes.withUnsafeBytes { store($0, at: offset) }
  }

  func zero() {
    if let base = baseAddress { memset(base, 0, count) }
  }

  /// The bytes of `range` alone. Traps when the range is not inside.
  @inline(__always)
  func part(_ offset: Int, _ count: Int) -> UnsafeMutableRawBufferPointer {
    precondition(offset >= 0 && count >= 0 && count <= self.count - offset)
    return UnsafeMutableRawBufferPointer(rebasing: self[offset..<(offset + count)])
  }
}

/// Sixteen bytes in the order in which they stand on the device.
package struct UUIDBytes: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
  /// The bytes as a little-endian number; only its equality means something.
  package let rawValue: UInt128

  package init(rawValue: UInt128) { self.rawValue = rawValue }

  package static let zero = UUIDBytes(rawValue: 0)

  package static func random() -> UUIDBytes {
    var bytes = (0..<16).map { _ in UInt8.random(in: 0...255) }
    // Version 4, variant 1 (RFC 4122).
    bytes[6] = bytes[6] & 0x0f | 0x40
    bytes[8] = bytes[8] & 0x3f | 0x80
    return UUIDBytes(bytes: bytes)
  }

  package init(bytes: [UInt8]) {
    precondition(bytes.count == 16)
    rawValue = bytes.reversed().reduce(UInt128(0)) { $0 << 8 | UInt128($1) }
  }

  /// The usual text, `8-4-4-4-12` hexadecimal digits; nil when it is not one.
  package init?(text: String) {
    let digits = text.filter { $0 != "-" }
    guard digits.utf8.count == 32 else { return nil }
    var bytes: [UInt8] = []
    var rest = Substring(digits)
    while !rest.isEmpty {
      guard let byte = UInt8(rest.prefix(2), radix: 16) else { return nil }
      bytes.append(byte)
      rest = rest.dropFirst(2)
    }
    self.init(bytes: bytes)
  }

  package var bytes: [UInt8] { (0..<16).map { UInt8(truncatingIfNeeded: rawValue >> ($0 * 8)) } }

  package var description: String {
    let digits = bytes.map { byte in
      let text = String(byte, radix: 16)
      return text.count == 1 ? "0" + text : text
    }.joined()
    var parts: [Substring] = []
    var rest = Substring(digits)
    for count in [8, 4, 4, 4, 12] {
      parts.append(rest.prefix(count))
      rest = rest.dropFirst(count)
    }
    return parts.joined(separator: "-")
  }
}

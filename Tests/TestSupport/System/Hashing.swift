/// A fast 64-bit hash for comparing contents; no more than that.
package struct ContentHash: Sendable {
  package private(set) var value: UInt64

  package init(seed: UInt64 = 0x51_7c_c1_b7_27_22_0a_95) { value = seed }

  package mutating func add(_ word: UInt64) {
    let rotated = (value << 23) | (value >> 41)
    value = (rotated ^ word) &* 0x9e37_79b9_7f4a_7c15
    value ^= value >> 29
  }

  package mutating func add(_ bytes: UnsafeRawBufferPointer) {
    var offset = 0
    while offset + 8 <= bytes.count {
      add(bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
      offset += 8
    }
    var tail: UInt64 = 0
    while offset < bytes.count {
      tail = tail << 8 | UInt64(bytes[offset])
      offset += 1
    }
    add(tail)
    add(UInt64(bytes.count))
  }

  package mutating func add(_ bytes: [UInt8]) { bytes.withUnsafeBytes { add($0) } }

  package static func of(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
    var hash = ContentHash()
    hash.add(bytes)
    return hash.value
  }
}

/// crc32c as btrfs uses it for names, and names made to collide under it.
package enum NameHash {
  private static let table: [UInt32] = (0..<256).map { index in
    (0..<8).reduce(UInt32(index)) { value, _ in
      value & 1 == 1 ? (value >> 1) ^ 0x82f6_3b78 : value >> 1
    }
  }

  package static func of(_ name: [UInt8]) -> UInt32 {
    name.reduce(0xffff_fffe) { table[Int(($0 ^ UInt32($1)) & 0xff)] ^ ($0 >> 8) }
  }

  /// The standard crc32c, as superblocks carry it.
  package static func checksum(_ bytes: [UInt8]) -> UInt32 {
    ~bytes.reduce(UInt32.max) { table[Int(($0 ^ UInt32($1)) & 0xff)] ^ ($0 >> 8) }
  }

  /// A name that starts with `prefix`, has four more bytes, and hashes to `target`;
  /// nil when those bytes would contain a slash or NUL.
  package static func colliding(prefix: [UInt8], target: UInt32) -> [UInt8]? {
    // Run the register backwards from the target over four unknown bytes: the top byte of each
    // state tells which table entry was used to reach it.
    var indexes = [Int](repeating: 0, count: 4)
    var backwards = target
    for position in stride(from: 3, through: 0, by: -1) {
      let top = backwards >> 24
      guard let index = table.firstIndex(where: { $0 >> 24 == top }) else { return nil }
      indexes[position] = index
      backwards = (backwards ^ table[index]) << 8
    }
    var name = prefix
    var register = of(prefix)
    for index in indexes {
      let byte = UInt8((register ^ UInt32(index)) & 0xff)
      name.append(byte)
      register = table[index] ^ (register >> 8)
    }
    guard register == target else { return nil }
    let suffix = name.suffix(4)
    return suffix.contains(0) || suffix.contains(UInt8(ascii: "/")) ? nil : name
  }

  /// `count` names that share the hash of the first.
  package static func collidingNames(stem: String, count: Int) -> [[UInt8]] {
    let first = Array("\(stem)-first".utf8)
    var names = [first]
    var attempt = 0
    while names.count < count {
      if let name = colliding(prefix: Array("\(stem)\(attempt)".utf8), target: of(first)) {
        names.append(name)
      }
      attempt += 1
    }
    return names
  }
}

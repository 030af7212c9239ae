import CCodecs
import Glibc

/// The checksum of the superblock, the tree blocks and the data of one file system.
package enum ChecksumType: UInt16, CaseIterable, Sendable {
  case crc32c = 0
  case xxhash64 = 1
  case sha256 = 2
  case blake2b = 3

  /// Bytes of one value.
  package var size: Int {
    switch self {
    case .crc32c: 4
    case .xxhash64: 8
    case .sha256, .blake2b: 32
    }
  }

  package var name: String {
    switch self {
    case .crc32c: "crc32c"
    case .xxhash64: "xxhash"
    case .sha256: "sha256"
    case .blake2b: "blake2"
    }
  }

  /// Writes the `size` bytes of the checksum of `bytes` to `output`.
  package func compute(
    _ bytes: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
  ) {
    precondition(output.count >= size)
    switch self {
    case .crc32c: output.store(FormatHash.crc32c(bytes), at: 0)
    case .xxhash64: output.store(ccodecs_xxhash64(bytes.baseAddress, bytes.count), at: 0)
    case .sha256: ccodecs_sha256(bytes.baseAddress, bytes.count, output.baseAddress)
    case .blake2b: ccodecs_blake2b(bytes.baseAddress, bytes.count, output.baseAddress)
    }
  }

  /// Writes the checksums of the sectors of `bytes`, which are whole ones, to `output`, one behind
  /// the other.
  package func computeEach(
    of sectorBytes: Int, in bytes: UnsafeRawBufferPointer,
    into output: UnsafeMutableRawBufferPointer
  ) {
    let count = bytes.count / sectorBytes
    precondition(bytes.count % sectorBytes == 0 && output.count >= count * size)
    guard self != .crc32c else {
      return ccodecs_crc32c_sectors(bytes.baseAddress, sectorBytes, count, output.baseAddress)
    }
    for sector in 0..<count {
      compute(bytes.part(sector * sectorBytes, sectorBytes), into: output.part(sector * size, size))
    }
  }

  /// Whether `stored` begins with the checksums of the sectors of `bytes`, which are whole ones.
  package func matchesEach(
    of sectorBytes: Int, in bytes: UnsafeRawBufferPointer, _ stored: UnsafeRawBufferPointer
  ) -> Bool {
    // A few at a time, so that their checksums find room on the stack.
    let most = 64
    precondition(bytes.count % sectorBytes == 0)
    return withUnsafeTemporaryAllocation(byteCount: most * size, alignment: 8) { computed in
      var rest = bytes
      var done = 0
      while !rest.isEmpty {
        let count = min(rest.count / sectorBytes, most)
        let sums = UnsafeMutableRawBufferPointer(rebasing: computed[..<(count * size)])
        computeEach(of: sectorBytes, in: rest.part(0, count * sectorBytes), into: sums)
        let expected = stored.part(done * size, count * size)
        guard memcmp(sums.baseAddress!, expected.baseAddress!, count * size) == 0 else {
          return false
        }
        done += count
        rest = rest.part(count * sectorBytes, rest.count - count * sectorBytes)
      }
      return true
    }
  }

  /// Whether `stored` begins with the checksum of `bytes`.
  package func matches(_ bytes: UnsafeRawBufferPointer, _ stored: UnsafeRawBufferPointer) -> Bool {
    if self == .crc32c { return stored.u32(0) == FormatHash.crc32c(bytes) }
    return withUnsafeTemporaryAllocation(byteCount: 32, alignment: 8) { digest in
      compute(bytes, into: digest)
      return (0..<size).allSatisfy { digest[$0] == stored[$0] }
    }
  }

  /// Fills in the checksum of a superblock or tree block: the first 32 bytes of `block`, over
  /// all that follows; what the value leaves of the 32 is zeroed.
  package func seal(_ block: UnsafeMutableRawBufferPointer) {
    block.part(0, 32).zero()
    compute(UnsafeRawBufferPointer(block.part(32, block.count - 32)), into: block.part(0, 32))
  }

  /// Whether the first bytes of `block` are the checksum of what follows the 32nd.
  package func isSealed(_ block: UnsafeRawBufferPointer) -> Bool {
    matches(block.part(32, block.count - 32), block.part(0, 32))
  }
}

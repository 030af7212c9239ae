import TestSupport
import Testing

@testable import FSCore

@Suite(.timeLimit(.minutes(2))) struct ChecksumTests {
  /// CRC-32C bit by bit, as its definition has it.
  private static func crc32c(_ bytes: some Sequence<UInt8>) -> UInt32 {
    var state = UInt32.max
    for byte in bytes {
      state ^= UInt32(byte)
      for _ in 0..<8 { state = state & 1 == 1 ? state >> 1 ^ 0x82f6_3b78 : state >> 1 }
    }
    return ~state
  }

  private static let bytes: [UInt8] = {
    var random = SeededRandom(testSeed: 1)
    return random.bytes(70 << 10)
  }()

  @Test func crc32cIsThatOfTheStandard() {
    let digits = Array("123456789".utf8)
    #expect(digits.withUnsafeBytes { FormatHash.crc32c($0) } == 0xe306_9283)
    #expect(Self.crc32c(digits) == 0xe306_9283)
  }

  /// Numbers of sectors around what is made at a time, sizes that are and are not whole rows, places
  /// that are aligned and not.
  @Test(arguments: [1, 63, 64, 100, 128, 512, 4096, 8192])
  func sectorsGetTheirOwnChecksums(size: Int) {
    for count in [0, 1, 2, 3, 4, 5, 7, 8] where size * count + 3 <= Self.bytes.count {
      for offset in [0, 3] {
        Self.bytes.withUnsafeBytes { all in
          let bytes = all.part(offset, size * count)
          var sums = [UInt8](repeating: 0xee, count: count * 4 + 4)
          sums.withUnsafeMutableBytes {
            ChecksumType.crc32c.computeEach(of: size, in: bytes, into: $0)
          }
          for sector in 0..<count {
            let expected = Self.crc32c(bytes.part(sector * size, size))
            let sum = sums.withUnsafeBytes { $0.u32(sector * 4) }
            #expect(sum == expected, "sector \(sector) of \(count), at \(offset)")
          }
          // Nothing beyond them is touched.
          #expect(sums[(count * 4)...].allSatisfy { $0 == 0xee })
        }
      }
    }
  }

  /// One wrong bit is found, whichever sector it is in, and beyond as many as are looked at in one go.
  @Test(arguments: ChecksumType.allCases)
  func oneWrongBitIsFound(type: ChecksumType) {
    let size = 512
    let count = 130
    var bytes = Array(Self.bytes[..<(size * count)])
    var sums = [UInt8](repeating: 0, count: count * type.size)
    func matches() -> Bool {
      bytes.withUnsafeBytes { bytes in
        sums.withUnsafeBytes { type.matchesEach(of: size, in: bytes, $0) }
      }
    }
    bytes.withUnsafeBytes { bytes in
      sums.withUnsafeMutableBytes { type.computeEach(of: size, in: bytes, into: $0) }
    }
    #expect(matches())
    for sector in [0, 1, 2, 3, 63, 64, 127, 128, 129] {
      for place in [sector * size, sector * size + size - 1] {
        bytes[place] ^= 0x10
        #expect(!matches(), "byte \(place)")
        bytes[place] ^= 0x10
      }
      sums[sector * type.size + type.size - 1] ^= 1
      #expect(!matches(), "checksum \(sector)")
      sums[sector * type.size + type.size - 1] ^= 1
    }
    #expect(matches())
  }
}

/// xoshiro256**, seeded through SplitMix64: the same numbers from the same seed on every machine.
package struct SeededRandom: RandomNumberGenerator, Sendable {
  private var state: (UInt64, UInt64, UInt64, UInt64)

  package init(seed: UInt64) {
    var mixer = SplitMix64(state: seed)
    state = (mixer.next(), mixer.next(), mixer.next(), mixer.next())
  }

  /// For a test, which always has the same numbers unless `TEST_SEED` asks for others.
  package init(testSeed fixed: UInt64) { self.init(seed: TestSeed.of(fixed)) }

  package mutating func next() -> UInt64 {
    let product = state.1 &* 5
    let result = ((product << 7) | (product >> 57)) &* 9
    let shifted = state.1 << 17
    state.2 ^= state.0
    state.3 ^= state.1
    state.1 ^= state.2
    state.0 ^= state.3
    state.2 ^= shifted
    state.3 = (state.3 << 45) | (state.3 >> 19)
    return result
  }

  /// 0 ..< limit.
  package mutating func below<Number: FixedWidthInteger>(_ limit: Number) -> Number {
    precondition(limit > 0)
    return Number(next().multipliedFullWidth(by: UInt64(limit)).high)
  }

  package mutating func within(_ range: ClosedRange<Int>) -> Int {
    range.lowerBound + below(range.count)
  }

  /// True once in `count` on average.
  package mutating func oneIn(_ count: Int) -> Bool { below(count) == 0 }

  package mutating func pick<Element>(_ elements: [Element]) -> Element {
    elements[below(elements.count)]
  }

  /// Fills with bytes none of which is zero, so that data never looks like a hole.
  package mutating func fillNonZero(_ buffer: UnsafeMutableRawBufferPointer) {
    NonZeroBytes.copy(to: buffer, from: below(NonZeroBytes.count))
  }

  /// The same with bytes that can be compressed: one stretch of up to 300 over and over, here and
  /// there another byte. There are few different ones, so that samples show it, too.
  package mutating func fillCompressible(_ buffer: UnsafeMutableRawBufferPointer) {
    let length = min(within(1...300), buffer.count)
    for index in 0..<length { buffer[index] = UInt8(below(40) + 1) }
    for index in stride(from: length, to: buffer.count, by: 1) {
      buffer[index] = buffer[index - length]
    }
    for _ in 0..<(buffer.count / 200) { buffer[below(buffer.count)] = UInt8(below(40) + 1) }
  }
}

/// A stock of random bytes to copy from: quick even where nothing is optimised.
private enum NonZeroBytes {
  static let count = 1 << 20

  private static let bytes: [UInt8] = {
    var random = SeededRandom(seed: 0x6e6f_7a65_726f)
    return (0..<count).map { _ in UInt8(random.below(255) + 1) }
  }()

  static func copy(to buffer: UnsafeMutableRawBufferPointer, from start: Int) {
    guard let target = buffer.baseAddress else { return }
    bytes.withUnsafeBytes { stock in
      var source = start
      var done = 0
      while done < buffer.count {
        let part = min(buffer.count - done, count - source)
        target.advanced(by: done).copyMemory(from: stock.baseAddress! + source, byteCount: part)
        done += part
        source = 0
      }
    }
  }
}

package struct SplitMix64: Sendable {
  package var state: UInt64

  package init(state: UInt64) { self.state = state }

  package mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}

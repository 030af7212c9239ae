import TestSupport
import Testing

@testable import FSCore

/// What is compressed, decompressed again; and decompressors that are given anything.
@Suite(.timeLimit(.minutes(5))) struct CodecTests {
  static let methods: [CompressionMethod] =
    [-15, -3, 1, 3, 9, 15].map { CompressionMethod(.zstd, level: $0) }
    + [1, 3, 6, 9].map { CompressionMethod(.zlib, level: $0) } + [CompressionMethod(.lzo)]

  /// Text, runs, noise, and what changes from one to the other.
  private static func content(_ kind: Int, _ count: Int, _ random: inout SeededRandom) -> [UInt8] {
    switch kind {
    case 0: return (0..<count).map { UInt8(truncatingIfNeeded: $0 / 512) }
    case 1: return (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
    case 2: return [UInt8](repeating: 0, count: count)
    default:
      var bytes: [UInt8] = []
      while bytes.count < count {
        bytes += Array("line \(bytes.count) of a text, ".utf8)
        if random.oneIn(40) {
          bytes += (0..<random.within(1...3000)).map { _ in
            UInt8.random(in: 0...255, using: &random)
          }
        }
      }
      return Array(bytes.prefix(count))
    }
  }

  private func compress(
    _ method: CompressionMethod, _ bytes: [UInt8], room: Int, _ context: CodecContext
  ) -> [UInt8]? {
    // Behind the room stand bytes that must stay.
    let output = UnsafeMutableRawBufferPointer.allocate(byteCount: room + 64, alignment: 16)
    defer { output.deallocate() }
    output.copyBytes(from: [UInt8](repeating: 0xa5, count: room + 64))
    let count = bytes.withUnsafeBytes { input in
      Compressor.compress(method, input, into: output.part(0, room), sectorSize: 4096, context)
    }
    #expect(output.part(room, 64).allSatisfy { $0 == 0xa5 }, "\(method) writes beyond its room")
    return count.map { Array(output.prefix($0)) }
  }

  private func decompress(
    _ algorithm: FileExtentItem.Compression, _ stored: [UInt8], count: Int, _ context: CodecContext
  ) -> [UInt8]? {
    let output = UnsafeMutableRawBufferPointer.allocate(byteCount: count + 64, alignment: 16)
    defer { output.deallocate() }
    output.copyBytes(from: [UInt8](repeating: 0xa5, count: count + 64))
    let isWhole = stored.withUnsafeBytes {
      Decompression.decompress(
        algorithm, $0, into: output.part(0, count), sectorSize: 4096, context)
    }
    #expect(output.part(count, 64).allSatisfy { $0 == 0xa5 }, "\(algorithm) writes beyond its room")
    return isWhole ? Array(output.prefix(count)) : nil
  }

  @Test(arguments: methods)
  func roundTrips(method: CompressionMethod) {
    var random = SeededRandom(testSeed: UInt64(method.level + 40))
    let context = CodecContext()
    for kind in 0..<4 {
      for count in [1, 100, 4095, 4096, 8192, 65536, 126_976, 131_072] {
        let bytes = Self.content(kind, count, &random)
        guard let stored = compress(method, bytes, room: count + 20_000, context) else {
          #expect(Bool(false), "\(method) does not compress \(count) bytes of kind \(kind)")
          continue
        }
        if kind == 0 || kind == 2, count > 4096 { #expect(stored.count < count / 2) }
        // With padding, as on the device, and with as many zeros behind as the last sector lacks.
        let padded = stored + [UInt8](repeating: 0, count: 4096)
        let isSame = decompress(method.algorithm, padded, count: count, context) == bytes
        let longer = decompress(method.algorithm, padded, count: count + 1000, context)
        let isFilled = longer == bytes + [UInt8](repeating: 0, count: 1000)
        #expect(isSame && isFilled, "\(method), \(count) bytes of kind \(kind)")
        // Room to the byte, and one less.
        #expect(compress(method, bytes, room: stored.count / 2, context) == nil)
        if let tight = compress(method, bytes, room: stored.count, context) {
          let isSame = decompress(method.algorithm, tight, count: count, context) == bytes
          #expect(isSame, "\(method), \(count) bytes of kind \(kind)")
        }
      }
    }
  }

  /// Damaged, cut off, or with lengths that lie: an answer, right or none, and nothing beyond the
  /// room for it.
  @Test(arguments: [FileExtentItem.Compression.zlib, .lzo, .zstd])
  func anythingMayBeDecompressed(algorithm: FileExtentItem.Compression) {
    var random = SeededRandom(testSeed: UInt64(algorithm.rawValue))
    let context = CodecContext()
    var refused = 0
    let content = Self.content(3, 131_072, &random)
    for round in 0..<1200 {
      let start = random.below(content.count)
      let bytes = Array(content[start..<random.within(start + 1...content.count)])
      guard
        var stored = compress(
          CompressionMethod(algorithm), bytes, room: bytes.count + 20_000, context)
      else { continue }
      switch round % 4 {
      case 0: stored.removeLast(random.within(1...stored.count))
      case 1:
        for _ in 0..<random.within(1...8) { stored[random.below(stored.count)] = random.next8() }
      case 2:
        // Where lengths stand.
        for _ in 0..<4 { stored[random.below(min(16, stored.count))] = random.next8() }
      default: stored = (0..<random.within(0...5000)).map { _ in random.next8() }
      }
      let room = random.oneIn(2) ? bytes.count : random.within(1...131_072)
      if decompress(algorithm, stored, count: room, context) == nil { refused += 1 }
    }
    #expect(refused > 200)
    // The context is good for more.
    let bytes = Self.content(3, 100_000, &random)
    let stored = compress(CompressionMethod(algorithm), bytes, room: 130_000, context)
    let isSame = decompress(algorithm, stored ?? [], count: 100_000, context) == bytes
    #expect(isSame)
  }

  /// A frame whose window would be more memory than an extent can need.
  @Test func largeWindowsAreNoReasonForMuchMemory() {
    // RFC 8878: no single segment, a window of 2^27 bytes, one last block that is a run of 64.
    let frame: [UInt8] = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 0x03, 0x02, 0x00, 7]
    let found = decompress(.zstd, frame, count: 131_072, CodecContext())
    #expect(found == nil || found?.prefix(64).allSatisfy { $0 == 7 } == true)
    // Only its first bytes are wanted, so it goes through a window.
    #expect(decompress(.zstd, frame, count: 32, CodecContext()) == nil)
  }

  @Test func totalLengthOfLZO() {
    let context = CodecContext()
    let bytes = [UInt8](repeating: 5, count: 8192)
    guard let stored = compress(CompressionMethod(.lzo), bytes, room: 9000, context) else {
      #expect(Bool(false), "not compressed")
      return
    }
    for total in [0, 3, 4, 8, stored.count + 1, 1 << 31] {
      var lying = stored
      withUnsafeBytes(of: UInt32(total).littleEndian) { lying.replaceSubrange(0..<4, with: $0) }
      #expect(decompress(.lzo, lying, count: 8192, context) == nil, "a total of \(total)")
    }
  }

  @Test func contextsAreKept() {
    let contexts = CodecContexts(capacity: 2)
    contexts.with { first in
      contexts.with { second in
        contexts.with { third in
          #expect(first !== second && second !== third)
        }
      }
    }
    #expect(contexts.restingCount == 2)
    let kept = contexts.with { ObjectIdentifier($0) }
    #expect(contexts.with { ObjectIdentifier($0) } == kept)
  }

  @Test func options() {
    #expect(CompressionMethod(option: "zlib") == CompressionMethod(.zlib, level: 3))
    #expect(CompressionMethod(option: "zlib:0") == CompressionMethod(.zlib, level: 3))
    #expect(CompressionMethod(option: "zstd:-15")?.level == -15)
    #expect(CompressionMethod(option: "zstd:15")?.level == 15)
    #expect(CompressionMethod(option: "lzo") == CompressionMethod(.lzo, level: 7))
    for text in [
      "", "zlib:", "zlib:10", "zlib:-1", "zlib9", "zstd:16", "zstd:-16", "zstd:3x", "lzo:1", "none",
      "ZSTD", "zstd:3:3", "zstd: 3",
    ] {
      #expect(CompressionMethod(option: text) == nil, "\(text)")
    }
    // A file may have another algorithm than the mount, which says the level.
    #expect(CompressionMethod(.zlib, level: 15).level == 9)
    #expect(CompressionMethod(.zlib, level: -5).level == 1)
  }

  @Test func outlook() {
    var random = SeededRandom(testSeed: 5)
    func isGood(_ bytes: [UInt8]) -> Bool {
      bytes.withUnsafeBytes { CompressionOutlook.isGood($0) }
    }
    let noise = Self.content(1, 131_072, &random)
    let isGoodNoise = isGood(noise)
    let isGoodTwice = isGood(Array(noise[..<65536]) + noise[..<65536])
    let isGoodOfFew = isGood(noise.map { $0 % 60 })
    #expect(!isGoodNoise && isGoodTwice && isGoodOfFew && !isGood([]))
    // Runs of each value, as many as of every other.
    let isGoodRuns = isGood(Self.content(0, 131_072, &random))
    let isGoodText = isGood(CompressionTests.text(131_072))
    #expect(isGoodRuns && isGoodText)
  }
}

extension SeededRandom {
  fileprivate mutating func next8() -> UInt8 { UInt8(truncatingIfNeeded: next()) }
}

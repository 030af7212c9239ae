import FreeSpace
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(10))) struct CacheTamperTests {
  /// A bitmap, its window cut by the group's end, and extents in the window before.
  private func sample() throws -> CacheFile {
    let index = FreeSpaceIndex(start: gib, length: 136 * mib, sectorSize: sector)
    for number in 0..<1_024 as Range<UInt64> {
      try index.add(offset: gib + 128 * mib + number * 2 * sector, length: sector)
    }
    for number in 0..<300 as Range<UInt64> {
      try index.add(offset: gib + number * 64 * kib, length: 32 * kib)
    }
    let file = try CacheFile(of: index)
    try #require(file.summary.entryCount == 301 && file.summary.bitmapCount == 1)
    _ = try file.decode()
    return file
  }

  /// The pages in use: two of entries, one of bits.
  private let usedPages = 3

  @Test func anyByteWithoutItsChecksum() throws {
    var file = try sample()
    // Of the checksums only those of used pages count.
    for byte in 0..<usedPages * 4096 where !(usedPages * 4..<16 * 4).contains(byte) {
      let old = file.bytes[byte]
      file.bytes[byte] = old ^ 1 << UInt8(byte % 8)
      #expect(throws: CacheRejection.self) { try file.decode() }
      file.bytes[byte] = old
    }
    _ = try file.decode()
  }

  /// With checksums mended, only what the total cannot tell may pass: the same amount of
  /// space elsewhere in the group, never more, never twice, never outside.
  @Test func anyByteWithItsChecksum() throws {
    var file = try sample()
    var generator = SeededRandom(testSeed: 1)
    var accepted = 0
    for byte in 16 * 4..<usedPages * 4096 {
      let old = file.bytes[byte]
      let isEntry = byte >= 16 * 4 + 8 && byte < 4096 + 65 * 17 && !(4084..<4096).contains(byte)
      let entryByte = byte < 4096 ? (byte - 72) % 17 : (byte - 4096) % 17
      file.bytes[byte] = old ^ UInt8(1 + generator.below(255))
      file.mendChecksum(ofPage: byte / 4096)
      if let loaded = try? file.decode() {
        accepted += 1
        try loaded.checkInvariants()
        #expect(loaded.freeBytes == file.summary.freeBytes)
        // Only an entry's address, a bit for a bit, or bytes that mean nothing.
        #expect(!isEntry || entryByte < 8, "byte \(byte)")
        #expect(byte >= 72, "byte \(byte)")
      }
      file.bytes[byte] = old
      file.mendChecksum(ofPage: byte / 4096)
    }
    print("accepted with the same total: \(accepted)")
    _ = try file.decode()
  }

  @Test func fields() throws {
    let good = try sample()
    func expect(
      _ rejection: CacheRejection, location: SourceLocation = #_sourceLocation,
      _ change: (inout CacheFile) -> Void
    ) {
      var file = good
      change(&file)
      #expect(throws: rejection, sourceLocation: location) { try file.decode() }
      #expect(!rejection.description.isEmpty)
    }
    let total = good.summary.freeBytes
    let bitmapStart = gib + 128 * mib
    let bitmapBytes = 1_024 * sector

    expect(.unknownEntryType(entry: 5, type: 0)) {
      $0.setEntry(5, offset: gib, bytes: sector, kind: 0)
    }
    expect(.unknownEntryType(entry: 5, type: 3)) {
      $0.setEntry(5, offset: gib, bytes: sector, kind: 3)
    }
    expect(.emptyEntry(entry: 5, offset: gib)) { $0.setEntry(5, offset: gib, bytes: 0, kind: 1) }
    expect(.emptyEntry(entry: 300, offset: bitmapStart)) {
      $0.setEntry(300, offset: bitmapStart, bytes: 0, kind: 2)
    }
    for (offset, bytes) in [(gib + 1, sector), (gib, sector - 1), (gib, 1)] {
      expect(.misalignedEntry(entry: 5, offset: offset, bytes: bytes)) {
        $0.setEntry(5, offset: offset, bytes: bytes, kind: 1)
      }
    }
    let last: UInt64 = .max - sector + 1
    for (offset, bytes) in [
      (0, sector), (gib - sector, 2 * sector), (gib + 136 * mib, sector),
      (gib + 136 * mib - sector, 2 * sector), (gib, last), (last, last), (last, sector),
    ] {
      expect(.entryOutsideGroup(entry: 5, offset: offset, bytes: bytes)) {
        $0.setEntry(5, offset: offset, bytes: bytes, kind: 1)
      }
    }
    expect(.overlappingEntry(entry: 5, offset: gib, bytes: 32 * kib)) {
      $0.setEntry(5, offset: gib, bytes: 32 * kib, kind: 1)
    }
    expect(.overlappingBitmap(entry: 300, offset: bitmapStart)) {
      $0.setEntry(5, offset: bitmapStart, bytes: 32 * kib, kind: 1)
    }
    expect(.wrongTotal(found: total - sector, expected: total)) {
      $0.setEntry(5, offset: gib + 5 * 64 * kib, bytes: 28 * kib, kind: 1)
    }
    for offset in [gib + sector, bitmapStart + sector, bitmapStart + 1] {
      expect(.misplacedBitmap(entry: 300, offset: offset)) {
        $0.setEntry(300, offset: offset, bytes: bitmapBytes, kind: 2)
      }
    }
    for offset in [0, gib + 256 * mib, last] {
      expect(.entryOutsideGroup(entry: 300, offset: offset, bytes: bitmapBytes)) {
        $0.setEntry(300, offset: offset, bytes: bitmapBytes, kind: 2)
      }
    }
    expect(
      .bitmapSizeMismatch(
        entry: 300, offset: bitmapStart, listed: bitmapBytes + 1, set: bitmapBytes)
    ) { $0.setEntry(300, offset: bitmapStart, bytes: bitmapBytes + 1, kind: 2) }
    expect(.bitsBeyondGroup(entry: 300, offset: bitmapStart)) {
      $0.bytes[2 * 4096 + 2_048 / 8] = 1
      $0.mendChecksum(ofPage: 2)
    }
    expect(.wrongBitmapCount(found: 0, header: 1)) {
      $0.setEntry(300, offset: bitmapStart, bytes: bitmapBytes, kind: 1)
      $0.setEntry(300, offset: bitmapStart, bytes: sector, kind: 1)
    }
    expect(.duplicateBitmap(entry: 300, offset: bitmapStart)) {
      $0.setEntry(299, offset: bitmapStart, bytes: bitmapBytes, kind: 2)
      $0.header.bitmapCount = 2
    }
    expect(.generationMismatch(file: 7, header: 8)) { $0.header.generation = 8 }
  }

  @Test func headers() throws {
    let good = try sample()
    let counts: [UInt64] = [0, 1, 15, 16, 299, 300, 302, 3_596, 3_597, 1 << 32, 1 << 63, .max]
    for entries in counts {
      for bitmaps in counts + [2] {
        var file = good
        file.header.entryCount = entries
        file.header.bitmapCount = bitmaps
        #expect(throws: CacheRejection.self) { try file.decode() }
        #expect(file.inspect() != nil)
      }
    }
    var file = good
    file.header.entryCount = 0
    file.header.bitmapCount = 0
    #expect(throws: CacheRejection.noEntries) { try file.decode() }
    file = good
    file.header.bitmapCount = 16
    #expect(throws: CacheRejection.countsDoNotFit(entries: 301, bitmaps: 16, pages: 16)) {
      try file.decode()
    }
  }

  @Test func fileSizes() throws {
    let good = try sample()
    for size in [0, 1, 4_095, 4_097, 8_192, 16 * 4_096 - 1, 1_023 * 4_096] {
      var file = good
      file.bytes = Array(good.bytes.prefix(size))
      file.bytes += Array(repeating: 0, count: size - file.bytes.count)
      #expect(throws: CacheRejection.self) { try file.decode() }
      _ = file.inspect()
    }
    // A longer file is another layout, even if what follows is zero.
    var file = good
    file.bytes += Array(repeating: 0, count: 4_096)
    #expect(throws: CacheRejection.self) { try file.decode() }
  }

  @Test func impossibleGroups() throws {
    let file = try sample()
    for (start, length, size) in [
      (0, 0, sector), (1, mib, sector), (0, mib + 1, sector), (.max - sector + 1, mib, sector),
      (0, 1 << 62, sector), (0, mib, 0), (0, mib, 3), (0, mib, 1 << 63),
    ] as [(UInt64, UInt64, UInt64)] {
      _ = file.bytes.withUnsafeBytes { pages in
        #expect(
          throws: CacheRejection.invalidGroup(start: start, length: length, sectorSize: size)
        ) {
          try CacheDecoder.decode(
            pages: pages, header: file.header, groupStart: start, groupLength: length,
            sectorSize: size, expectedFreeBytes: 0, crc32c: crc32c)
        }
      }
    }
  }

  /// Whatever is in the pages: no trap, and no acceptance by accident.
  @Test(arguments: [1, 2, 3] as [UInt64]) func noise(seed: UInt64) throws {
    var generator = SeededRandom(testSeed: seed)
    let good = try sample()
    for _ in 0..<60 {
      var file = good
      for _ in 0..<1 + generator.below(400) {
        let byte = 64 + generator.below(3 * 4_096 - 64)
        file.bytes[byte] = UInt8(truncatingIfNeeded: generator.next())
      }
      for page in 0..<3 { file.mendChecksum(ofPage: page) }
      if let loaded = try? file.decode() { try loaded.checkInvariants() }
      _ = file.inspect(withHeader: false)
    }
  }
}

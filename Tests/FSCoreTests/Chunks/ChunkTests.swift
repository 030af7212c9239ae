import Testing

@testable import FSCore

@Suite struct ChunkTests {
  /// Chunks that Linux 6.18 made, on several devices, and what it then kept for superblock copies:
  /// its `bytes_readonly`.
  @Test func superblockCopiesOnStripedDevices() {
    let striped = chunk(
      110_886_912, 201_326_592, [.data, .raid0], [22_020_096, 89_915_392, 89_915_392])
    #expect(striped.superblockRanges.map(\.start) == [246_153_216])
    #expect(striped.superblockRanges.map(\.length) == [65536])

    let four = chunk(
      137_756_672, 134_217_728, [.data, .raid10],
      [22_020_096, 1_048_576, 116_785_152, 116_785_152])
    #expect(four.superblockRanges.map(\.start) == [227_934_208, 269_877_248])
    #expect(four.superblockRanges.reduce(0) { $0 + $1.length } == 131_072)

    let six = chunk(
      298_844_160, 201_326_592, [.data, .raid10],
      [22_020_096, 1_048_576, 1_048_576, 1_048_576, 277_872_640, 277_872_640])
    #expect(six.superblockRanges.reduce(0) { $0 + $1.length } == 196_608)
  }

  /// Whatever an image says.
  @Test func senselessChunks() {
    for flags: BlockGroupFlags in [.raid0, .raid10, .raid5, [.raid0, .raid10], .raid1, []] {
      for subStripes: UInt16 in [0, 1, 2, 3, .max] {
        for length in [4096, 65536, 1 << 40, UInt64.max - 8191] {
          let offsets: [UInt64] = [0, 65536, 1 << 26, .max]
          let chunk = chunk(4096, length, flags, offsets, subStripes: subStripes)
          for range in chunk.superblockRanges {
            #expect(range.start >= chunk.start && range.start < chunk.end)
            #expect(range.length <= chunk.end - range.start)
          }
        }
      }
    }
  }

  /// Sums of lengths are made in many places: an image whose chunks have more than 2^63 bytes, be
  /// it on devices that are not there, is refused where it begins.
  @Test func moreThanFits() throws {
    let map = ChunkMap()
    let half: UInt64 = 1 << 62
    try map.add(chunk(0, half - 4096, [], [0]), deviceSize: 0)
    #expect(throws: FilesystemError.self) {
      try map.add(chunk(1 << 63, half, .raid1, [0, 0]), deviceSize: 0)
    }
    #expect(throws: FilesystemError.self) {
      try map.add(chunk(1 << 63, half + 4096, [], [0]), deviceSize: 0)
    }
    try map.add(chunk(1 << 63, half, [], [0]), deviceSize: 0)
    #expect(map.all.count == 2)
  }

  private func chunk(
    _ start: UInt64, _ length: UInt64, _ flags: BlockGroupFlags, _ offsets: [UInt64],
    subStripes: UInt16? = nil
  ) -> Chunk {
    let stripes = offsets.enumerated().map { index, offset in
      ChunkItem.Stripe(
        deviceID: UInt64(index + 1), offset: PhysicalAddress(offset), deviceUUID: .zero)
    }
    var item = ChunkItem(length: length, flags: flags, sectorSize: 4096, stripes: stripes)
    item.subStripes = subStripes ?? (flags.contains(.raid10) ? 2 : 1)
    return Chunk(start: LogicalAddress(start), item: item, copies: [])
  }
}

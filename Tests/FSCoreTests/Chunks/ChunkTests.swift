import Testing

@testable import FSCore

@Suite(.timeLimit(.minutes(10))) struct ChunkTests {
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
    let map = ChunkMap(devices: DeviceSet(MemoryDevice(sizeBytes: 1 << 20), id: 9))
    let half: UInt64 = 1 << 62
    try map.add(chunk(0, half - 4096, [], [0]))
    #expect(throws: FilesystemError.self) { try map.add(chunk(1 << 63, half, .raid1, [0, 0])) }
    #expect(throws: FilesystemError.self) { try map.add(chunk(1 << 63, half + 4096, [], [0])) }
    try map.add(chunk(1 << 63, half, [], [0]))
    #expect(map.all.count == 2)
  }

  /// A chunk comes and goes; of its stripes those on open devices are mirrors, if they are whole
  /// copies; and a range stands at its distance from the chunk's beginning.
  @Test func chunksComeAndGo() throws {
    let map = ChunkMap(devices: DeviceSet(MemoryDevice(sizeBytes: 64 << 20), id: 2))
    let mirrored = chunk(1 << 30, 8 << 20, [.data, .raid1], [1 << 20, 5 << 20])
    let striped = chunk(2 << 30, 8 << 20, [.data, .raid0], [1 << 20, 20 << 20])
    try map.add(mirrored)
    try map.add(striped)
    try map.add(mirrored)
    #expect(map.all == [mirrored, striped])

    let inside = LogicalAddress((1 << 30) + 4096)
    #expect(try map.mirrorCount(at: inside) == 1)
    let place = try map.segment(inside, length: 4096, mirror: 0)
    #expect(place == DeviceAddress(device: 2, offset: PhysicalAddress((5 << 20) + 4096)))
    #expect(throws: FilesystemError.self) {
      try map.segment(inside, length: 8 << 20, mirror: 0)
    }
    #expect(throws: FilesystemError.self) { try map.segment(inside, length: 1, mirror: 1) }
    #expect(try map.mirrorCount(at: striped.start) == 0)
    #expect(throws: FilesystemError.onOtherDevice(striped.start)) {
      try map.segment(striped.start, length: 4096, mirror: 0)
    }
    #expect(throws: FilesystemError.self) {
      try map.add(chunk(3 << 30, 8 << 20, [], [0, 60 << 20]))
    }

    #expect(map.remove(mirrored))
    #expect(!map.remove(mirrored))
    #expect(map.all == [striped])
    #expect(throws: FilesystemError.self) { try map.chunk(containing: inside) }
    let other = chunk(1 << 30, 16 << 20, .data, [0, 1 << 20])
    try map.add(other)
    #expect(map.all == [other, striped])
  }

  private func chunk(
    _ start: UInt64, _ length: UInt64, _ flags: BlockGroupFlags, _ offsets: [UInt64],
    subStripes: UInt16? = nil
  ) -> Chunk {
    let stripes = offsets.enumerated().map { index, offset in
      ChunkItem.Stripe(
        deviceID: DeviceID(UInt64(index + 1)), offset: PhysicalAddress(offset), deviceUUID: .zero)
    }
    var item = ChunkItem(length: length, flags: flags, sectorSize: 4096, stripes: stripes)
    item.subStripes = subStripes ?? (flags.contains(.raid10) ? 2 : 1)
    return Chunk(start: LogicalAddress(start), item: item)
  }
}

import Testing

@testable import FSCore

@Suite(.timeLimit(.minutes(1))) struct SpaceUsageTests {
  private func chunk(
    _ start: UInt64, _ length: UInt64, _ flags: BlockGroupFlags, on devices: [UInt64],
    subStripes: UInt16 = 1
  ) -> Chunk {
    var item = ChunkItem(
      length: length, flags: flags, sectorSize: 4096,
      stripes: devices.map {
        ChunkItem.Stripe(
          deviceID: DeviceID($0), offset: PhysicalAddress(start), deviceUUID: .random())
      })
    item.subStripes = subStripes
    return Chunk(start: LogicalAddress(start), item: item)
  }

  private func usage(_ chunks: [Chunk], used: UInt64 = 0, devices: Int = 4) -> SpaceUsage {
    SpaceUsage(
      devices: (1...UInt64(devices)).map { SpaceUsage.Device(id: $0, size: 10 << 30) },
      chunks: chunks.map { ($0, used) })
  }

  @Test func oneDevice() {
    let usage = usage(
      [
        chunk(1 << 30, 1 << 30, .data, on: [1]),
        chunk(2 << 30, 256 << 20, [.metadata, .dup], on: [1, 1]),
        chunk(3 << 30, 8 << 20, [.system, .dup], on: [1, 1]),
        chunk(4 << 30, 1 << 30, .data, on: [1]),
      ], used: 4 << 20, devices: 1)
    #expect(usage.profiles.map(\.type) == ["data", "metadata", "system"])
    #expect(usage.profiles.map(\.size) == [2 << 30, 256 << 20, 8 << 20])
    #expect(usage.profiles.map(\.raw) == [2 << 30, 512 << 20, 16 << 20])
    let overall = usage.overall
    #expect(overall.deviceAllocated == 2 << 30 + 528 << 20)
    #expect(overall.deviceUnallocated == 8 << 30 - 528 << 20)
    #expect(overall.used == 8 << 20 + 8 << 20 + 8 << 20)
    #expect(overall.dataRatio == 1 && overall.metadataRatio == 2)
    #expect(overall.freeEstimated == 2 << 30 - 8 << 20 + overall.deviceUnallocated)
    #expect(overall.freeMinimum == 2 << 30 - 8 << 20 + overall.deviceUnallocated / 2)
    #expect(!overall.hasMultipleProfiles)
  }

  /// What one copy is spread over, and what is parity.
  @Test(arguments: [
    (BlockGroupFlags.raid0, [1, 2, 3, 4], 1, 1.0), (.raid1, [1, 2], 1, 2),
    (.raid1c3, [1, 2, 3], 1, 3),
    (.raid10, [1, 2, 3, 4], 2, 2), (.raid5, [1, 2, 3, 4], 1, 4.0 / 3),
    (.raid6, [1, 2, 3, 4], 1, 2),
  ])
  func profiles(
    _ profile: BlockGroupFlags, _ devices: [UInt64], _ subStripes: UInt16, _ ratio: Double
  ) {
    let length: UInt64 = 3 << 30
    let usage = usage(
      [chunk(1 << 40, length, [.data, profile], on: devices, subStripes: subStripes)])
    #expect(abs(usage.overall.dataRatio - ratio) < 1e-6)
    let share = UInt64(Double(length) * ratio / Double(devices.count))
    for device in usage.devices {
      #expect(device.allocated == (devices.contains(device.id) ? share : 0))
    }
  }

  @Test func severalProfilesAreTold() {
    let usage = usage([
      chunk(1 << 30, 1 << 30, .data, on: [1]), chunk(2 << 30, 1 << 30, [.data, .dup], on: [1, 1]),
    ])
    #expect(usage.overall.hasMultipleProfiles && usage.overall.dataRatio == 1.5)
  }

  /// Figures of an image that lies.
  @Test func nonsense() {
    _ = usage([])
    _ = usage([chunk(0, 1, [.data, .raid0], on: [1, 2, 3])], used: .max)
    _ = usage([chunk(0, .max, [.data, .raid5], on: [1])], used: .max)
    _ = usage([chunk(0, 0, [.data, .raid6], on: [1])], used: 1)
    _ = usage([chunk(0, 4096, [], on: [7, 7, 7])])
  }
}

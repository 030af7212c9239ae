import TestSupport
import Testing

@testable import FSCore

/// Where chunks go on the device, how long they are, and how much is kept back for what.
@Suite(.timeLimit(.minutes(10))) struct SpaceDeviceTests {
  static let mebibyte: UInt64 = 1 << 20

  @Test func holesAreWhatNoExtentCovers() throws {
    let space = try DeviceSpace(
      totalBytes: 100 << 20, extents: [(4 << 20, 8 << 20), (12 << 20, 1 << 20), (50 << 20, 100)])
    let expected: [Range<UInt64>] = [
      1 << 20..<4 << 20, 13 << 20..<50 << 20, (50 << 20) + 65536..<100 << 20,
    ]
    #expect(space.holes == expected)
  }

  @Test func nothingIsTakenBelowOneMebibyte() throws {
    var space = try DeviceSpace(totalBytes: 64 << 20, extents: [])
    let places = space.take(length: 1 << 20, copies: 2)
    #expect(places == [PhysicalAddress(1 << 20), PhysicalAddress(2 << 20)])
  }

  /// A range of numbers counts its elements as an Int, which traps above 2^63.
  @Test func deviceOfSenselessSize() throws {
    let space = try DeviceSpace(totalBytes: .max, extents: [(1 << 20, 65536)])
    #expect(space.unallocated == UInt64.max - 65535 - (17 << 16))
    #expect(space.longestStripe(copies: 1, upTo: .max) == space.unallocated)
  }

  @Test func impossibleExtentsAreRefused() {
    let overlapping: [(start: UInt64, length: UInt64)] = [(4 << 20, 8 << 20), (4 << 20, 1 << 20)]
    let outside: [(start: UInt64, length: UInt64)] = [(4 << 20, 200 << 20)]
    let empty: [(start: UInt64, length: UInt64)] = [(4 << 20, 0)]
    let wrapping: [(start: UInt64, length: UInt64)] = [(.max - 5, 100)]
    for extents in [overlapping, outside, empty, wrapping] {
      #expect(throws: FilesystemError.self) {
        try DeviceSpace(totalBytes: 100 << 20, extents: extents)
      }
    }
  }

  /// Whatever holes there are: the longest stripe fits, one of 64 KiB more does not.
  @Test(arguments: 0..<UInt64(40))
  func theLongestStripeFitsAndNoLongerOne(seed: UInt64) throws {
    var random = SeededRandom(testSeed: seed)
    var extents: [(start: UInt64, length: UInt64)] = []
    var position: UInt64 = 1 << 20
    while position < 900 << 20 {
      position += random.below(1000) * 65536
      let length: UInt64 = (1 + random.below(500)) * 65536
      extents.append((position, length))
      position += length
    }
    let space = try DeviceSpace(totalBytes: position + (5 << 20), extents: extents)
    for copies in 1...2 {
      let longest = space.longestStripe(copies: copies, upTo: .max / 2)
      var fitting = space
      let taken = fitting.take(length: longest, copies: copies)
      let places = try #require(taken)
      #expect(fitting.unallocated == space.unallocated - longest * UInt64(copies))
      for place in places {
        #expect(
          !extents.contains {
            $0.start < place.rawValue + longest && place.rawValue < $0.start + $0.length
          })
      }
      var tooLong = space
      let refused = tooLong.take(length: longest + 65536, copies: copies)
      #expect(refused == nil)
      #expect(tooLong.holes == space.holes)
    }
  }

  @Test func chunksHaveTheKernelsSizes() {
    // Observed: 112 MiB of data on a device of 1 GiB.
    #expect(ChunkAllocator.wantedLength(.data, deviceBytes: 1 << 30) == 112 << 20)
    #expect(ChunkAllocator.wantedLength(.data, deviceBytes: 100 << 30) == 1 << 30)
    #expect(ChunkAllocator.wantedLength(.metadata, deviceBytes: 20 << 30) == 256 << 20)
    #expect(ChunkAllocator.wantedLength(.metadata, deviceBytes: 60 << 30) == 1 << 30)
    #expect(ChunkAllocator.wantedLength([.data, .metadata], deviceBytes: 128 << 20) == 16 << 20)
    #expect(ChunkAllocator.wantedLength(.system, deviceBytes: 128 << 20) == 2 << 20)
  }

  @Test(arguments: [UInt64(4096), 16384, 65536])
  func theReserveLetsSmallImagesBeUsed(nodeSize: UInt64) {
    let policy = ReservationPolicy(nodeSize: nodeSize, height: 2, isMixed: false)
    let mixed = ReservationPolicy(nodeSize: nodeSize, height: 2, isMixed: true)
    for metadata in [UInt64(8), 16, 32, 51, 256, 1024].map({ $0 << 20 }) {
      let reserve = policy.globalReserve(metadataBytes: metadata)
      #expect(reserve <= metadata / 4)
      #expect(reserve >= metadata / 16)
      #expect(policy.commitReserve(metadataBytes: metadata) <= reserve)

      let mixedReserve = mixed.globalReserve(metadataBytes: metadata)
      #expect(mixedReserve <= reserve)
      #expect(mixedReserve >= min(128 * nodeSize, metadata / 4))
    }
    #expect(policy.globalReserve(metadataBytes: 1 << 45) == 512 << 20)
    // No block is copied twice in a transaction, so the cost is bounded by all there are.
    #expect(policy.referenceCost(pending: 1_000_000, metadataUsed: 1 << 20) < 200 << 20)
    #expect(policy.referenceCost(pending: 1, metadataUsed: 1 << 30) == 2 * nodeSize)
  }
}

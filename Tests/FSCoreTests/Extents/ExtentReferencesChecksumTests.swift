import TestSupport
import Testing

@testable import FSCore

/// The checksums of data, against a dictionary.
@Suite(.timeLimit(.minutes(10))) struct ExtentReferencesChecksumTests {
  private static let base: UInt64 = 1 << 30

  @Test(
    arguments: [
      (4096, ChecksumType.crc32c), (4096, .sha256), (16384, .crc32c), (16384, .xxhash64),
    ] as [(UInt64, ChecksumType)], [1, 2] as [UInt64])
  func matchesModel(variant: (nodeSize: UInt64, type: ChecksumType), seed: UInt64) throws {
    let fixture = try ExtentReferencesFixture(
      nodeSize: variant.nodeSize, checksumType: variant.type)
    let tree = fixture.checksums
    var random = SeededRandom(testSeed: seed)
    let sectorCount = 20_000
    var model = [UInt64?](repeating: nil, count: sectorCount)

    for step in 0..<600 {
      let start = Int.random(in: 0..<sectorCount, using: &random)
      let longest = step % 10 == 0 ? 9000 : 300
      let count = min(Int.random(in: 0...longest, using: &random), sectorCount - start)
      let address = LogicalAddress(Self.base + UInt64(start) * 4096)

      switch Int.random(in: 0..<4, using: &random) {
      case 0:
        try fixture.change { (h) throws(FilesystemError) in
          try tree.remove(from: address, length: UInt64(count) * 4096, in: h)
        }
        for sector in start..<(start + count) { model[sector] = nil }
      case 1, 2:
        let sums = AlignedBuffer(zeroed: count * tree.sumSize)
        for sector in 0..<count {
          let sum = UInt32.random(in: 1...UInt32.max, using: &random)
          sums.bytes.store(sum, at: sector * tree.sumSize)
          model[start + sector] = UInt64(sum)
        }
        try fixture.change { (h) throws(FilesystemError) in
          try tree.insert(at: address, sums.readable, in: h)
        }
      default:
        try expectEqual(tree, model, start, count)
      }
      if step % 50 == 0 { try fixture.commit() }
    }
    try expectEqual(tree, model, 0, sectorCount)
    try expectItemsInOrder(tree)
    try fixture.commit()
    try fixture.verify()

    try fixture.change { (h) throws(FilesystemError) in
      try tree.remove(
        from: LogicalAddress(Self.base), length: UInt64(sectorCount) * 4096, in: h)
    }
    let rest = try tree.tree.findFirst(atLeast: .zero) { (key, _) throws(FilesystemError) in key }
    #expect(rest == nil)
  }

  private func expectEqual(
    _ tree: ChecksumTree, _ model: [UInt64?], _ start: Int, _ count: Int
  ) throws {
    let sums = AlignedBuffer(zeroed: count * tree.sumSize)
    let present = try tree.read(
      from: LogicalAddress(Self.base + UInt64(start) * 4096), length: UInt64(count) * 4096,
      into: sums.bytes)
    var presentCount = 0
    for sector in 0..<count {
      let expected = model[start + sector]
      presentCount += expected == nil ? 0 : 1
      guard present[sector] == (expected != nil),
        UInt64(sums.readable.u32(sector * tree.sumSize)) == expected ?? 0
      else {
        Issue.record("sector \(start + sector)")
        return
      }
    }
    #expect(present.presentCount == presentCount)
    #expect(present.isComplete == (presentCount == count))
  }

  private func expectItemsInOrder(_ tree: ChecksumTree) throws {
    var end: LogicalAddress = 0
    var largest = 0
    try tree.tree.forEach(from: .zero) { (key, bytes) throws(FilesystemError) in
      let range = try tree.range(key, bytes.byteCount)
      #expect(range!.start >= end && range!.count > 0)
      end = range!.end
      largest = max(largest, range!.count)
      return true
    }
    #expect(largest <= tree.maximumCount)
  }

  @Test func adjacentSumsShareAnItemUpToTheMaximum() throws {
    let fixture = try ExtentReferencesFixture(nodeSize: 16384)
    let tree = fixture.checksums
    #expect(tree.maximumCount == 4057)
    let sums = AlignedBuffer(zeroed: 100 * 4)
    try fixture.change { (h) throws(FilesystemError) in
      for number in 0..<50 as Range<UInt64> {
        try tree.insert(
          at: LogicalAddress(Self.base + number * 409_600), sums.readable, in: h)
      }
    }
    var counts: [Int] = []
    try tree.tree.forEach(from: .zero) { (_, bytes) throws(FilesystemError) in
      counts.append(bytes.byteCount / 4)
      return true
    }
    #expect(counts == [4057, 943])
  }

  @Test func freedDataLosesItsSums() throws {
    let fixture = try ExtentReferencesFixture()
    let length: UInt64 = 20480
    let kind = ExtentKind.data(length: length)
    let identity = ReferenceIdentity.data(root: 5, inode: 257, offset: 0)
    let sums = AlignedBuffer(zeroed: 5 * 4)
    func presentCount(_ address: LogicalAddress) throws -> Int {
      try fixture.checksums.read(from: address, length: length, into: sums.bytes).presentCount
    }

    // Neighbours, so that one item has the sums of all three.
    let addresses = (0..<3).map { _ in fixture.space.allocateData(length: length) }
    try fixture.change { (h) throws(FilesystemError) in
      for address in addresses {
        try fixture.checksums.insert(at: address, sums.readable, in: h)
        fixture.references.add(address, kind, identity, count: 1, newExtent: true, in: h)
      }
    }
    try fixture.commit()
    try fixture.change { (h) throws(FilesystemError) in
      fixture.references.add(addresses[1], kind, identity, count: -1, newExtent: false, in: h)
    }
    #expect(try addresses.map(presentCount) == [5, 5, 5])
    try fixture.commit()
    #expect(try addresses.map(presentCount) == [5, 0, 5])
    #expect(fixture.references.pendingCount == 0)
  }

  @Test func setsOfSectors() {
    var set = SectorSet(count: 200)
    #expect(set.presentCount == 0 && !set.isComplete)
    set.insert(60..<70)
    set.insert(64..<66)
    set.insert(190..<200)
    #expect(set.presentCount == 20)
    #expect((0..<200).filter { set[$0] } == Array(60..<70) + Array(190..<200))
    set.insert(0..<200)
    #expect(set.isComplete)
    #expect(SectorSet(count: 0).isComplete)
  }
}

import TestSupport
import Testing

@testable import FSCore

/// Blocks as a whole: headers, placement, nodes, and noise.
@Suite(.timeLimit(.minutes(10))) struct ValidationBlockTests {
  typealias Fixture = ValidationFixture

  private func expectRefused(
    _ block: AlignedBuffer, _ words: String, location: SourceLocation = #_sourceLocation
  ) {
    do {
      try Fixture.check(block)
      Issue.record("accepted: \(words)", sourceLocation: location)
    } catch {
      #expect("\(error)".contains(words), "\(error)", sourceLocation: location)
    }
  }

  private func header(of slot: Int) -> Int { Format.headerSize + slot * Format.itemHeaderSize }

  @Test func emptyLeaves() {
    for tree: TreeID in [.root, .extent, .chunk, .device, .topLevel, .dataRelocation] {
      expectRefused(Fixture.block(tree, []), "never empty")
    }
  }

  @Test func leafStructure() {
    let make = { Fixture.block(.topLevel, Fixture.files) }
    var block = make()
    block.bytes.store(UInt64(0), at: BlockHeader.Offset.flags)
    expectRefused(block, "WRITTEN")

    block = make()
    block.bytes.store(UInt32.max, at: BlockHeader.Offset.itemCount)
    expectRefused(block, "number of items")

    // One item more than there are: it has neither a key nor a place.
    block = make()
    block.bytes.store(UInt32(Fixture.files.count + 1), at: BlockHeader.Offset.itemCount)
    expectRefused(block, "out of order")

    for (offset, words) in [(0x11, "packed"), (0x15, "packed")] {
      block = make()
      block.bytes.store(UInt32(3), at: header(of: 2) + offset)
      expectRefused(block, words)
      block.bytes.store(UInt32.max, at: header(of: 2) + offset)
      expectRefused(block, words)
    }

    // The same key twice.
    block = make()
    Key(Fixture.files[0].key.objectID, .inodeItem, 0)
      .encode(into: block.bytes, at: header(of: 1))
    expectRefused(block, "out of order")

    // Data that reaches into the headers.
    let largest = [UInt8](repeating: 0, count: Fixture.geometry.maximumItemSize)
    block = Fixture.block(.uuid, [(Key(1, ItemType(250), 0), largest)])
    #expect(throws: Never.self) { try Fixture.check(block) }
    block.bytes.store(UInt32(24), at: header(of: 0) + 0x11)
    block.bytes.store(UInt32(16283 - 24), at: header(of: 0) + 0x15)
    expectRefused(block, "overlaps the item headers")
  }

  private func node(_ count: UInt32, level: UInt8 = 1) -> AlignedBuffer {
    let block = AlignedBuffer(zeroed: Fixture.geometry.nodeBytes)
    var header = BlockHeader(
      fsid: Fixture.geometry.fsid, address: Fixture.address,
      chunkTreeUUID: Fixture.geometry.chunkTreeUUID, generation: Fixture.generation,
      owner: .topLevel, level: level)
    header.itemCount = count
    header.encode(into: block.bytes)
    for slot in 0..<min(Int(count), Fixture.geometry.nodeCapacity) {
      let at = Format.headerSize + slot * Format.keyPointerSize
      Key(ObjectID(UInt64(256 + slot)), .inodeItem, 0).encode(into: block.bytes, at: at)
      block.bytes.store(UInt64(slot + 1) * 16384, at: at + 17)
      block.bytes.store(UInt64(3), at: at + 25)
    }
    return block
  }

  @Test func nodes() throws {
    try Fixture.check(node(1))
    try Fixture.check(node(UInt32(Fixture.geometry.nodeCapacity), level: 7))
    expectRefused(node(0), "number of key pointers")
    expectRefused(node(UInt32(Fixture.geometry.nodeCapacity) + 1), "number of key pointers")
    expectRefused(node(.max), "number of key pointers")
    expectRefused(node(2, level: 8), "level")
    let block = node(5)
    let third = Format.headerSize + 3 * Format.keyPointerSize
    block.bytes.store(UInt64(0), at: third + 17)
    expectRefused(block, "address is not aligned")
    block.bytes.store(UInt64(4097), at: third + 17)
    expectRefused(block, "address is not aligned")
    block.bytes.store(UInt64(1), at: third)
    expectRefused(block, "out of order")
  }

  /// Whatever passes can be decoded by everything that decodes items.
  @Test(arguments: 0..<6 as Range<UInt64>)
  func noise(_ seed: UInt64) {
    var random = SeededRandom(testSeed: seed)
    var accepted = 0
    for (tree, items) in Fixture.trees {
      let original = Fixture.block(tree, items)
      let block = AlignedBuffer(count: original.count)
      let headersEnd = header(of: items.count)
      let dataLength = items.reduce(0) { $0 + $1.data.count }
      for _ in 0..<1500 {
        block.bytes.copyMemory(from: original.readable)
        for _ in 0..<random.within(1...4) {
          let inHeaders = random.oneIn(4)
          let at =
            inHeaders
            ? Format.headerSize + random.below(headersEnd - Format.headerSize)
            : block.count - 1 - random.below(dataLength)
          let flipped = block.bytes[at] ^ 1 << UInt8(random.below(8))
          block.bytes[at] = random.oneIn(2) ? UInt8(random.below(256)) : flipped
        }
        do {
          try Fixture.check(block)
        } catch {
          continue
        }
        accepted += 1
        decodeAll(block)
      }
    }
    // Most bytes mean something, some may have any value.
    #expect(accepted > 100)
  }

  private func decodeAll(_ block: AlignedBuffer) {
    for slot in 0..<Int(block.readable.u32(BlockHeader.Offset.itemCount)) {
      let at = header(of: slot)
      let start = Format.headerSize + Int(block.readable.u32(at + 0x11))
      let data = block.readable.part(start, Int(block.readable.u32(at + 0x15)))
      let key = Key(block.readable, at: at)
      #expect(!(ItemText.key(key) + ItemText.content(key, data.bytes, Fixture.geometry)).isEmpty)
    }
  }
}

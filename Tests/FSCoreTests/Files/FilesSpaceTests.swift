import TestSupport
import Testing

@testable import FSCore

/// What files take, on the device and in memory.
@Suite(.timeLimit(.minutes(10))) struct FilesSpaceTests {
  static func extents(_ volume: Volume, _ id: InodeID) throws -> [FileExtent] {
    let inode = try volume.content.file(id)
    return try inode.content.shared { () throws(FilesystemError) in
      try inode.extents(in: 0..<UInt64.max)
    }
  }

  private static func setSize(_ volume: Volume, _ id: InodeID, _ size: UInt64) throws {
    var changes = AttributeChanges()
    changes.size = size
    _ = try volume.attributes.setAttributes(id, changes)
  }

  // What stat(2) counts.

  /// The same before what is buffered has its space as after.
  @Test(arguments: [0..<100_000, 50_000..<60_000, 199_000..<300_000, 200_000..<200_001])
  func overwrittenSectorsCountOnce(range: Range<Int>) throws {
    let volume = try Volume.mountForTest(try TestImage.make())
    let id = try volume.makeFile("/file")
    try volume.writeBytes(id, at: 0, [UInt8](repeating: 3, count: 200_000))
    #expect(try volume.attributes.attributes(of: id).blocks == 49 * 8)
    try volume.synchronizeAll()
    #expect(try volume.attributes.attributes(of: id).blocks == 49 * 8)

    for byte: UInt8 in 4...6 {
      try volume.writeBytes(
        id, at: UInt64(range.lowerBound), [UInt8](repeating: byte, count: range.count))
      let buffered = try volume.attributes.attributes(of: id).blocks
      #expect(buffered == (max(range.upperBound, 200_000) + 4095) / 4096 * 8)
      if byte == 4 { continue }
      try volume.synchronizeAll()
      #expect(try volume.attributes.attributes(of: id).blocks == buffered)
    }
    try volume.unmount()
  }

  // Small files.

  @Test(arguments: [1, 100, 2048])
  func smallFileStandsInItsItem(size: Int) throws {
    let volume = try Volume.mountForTest(try TestImage.make())
    let id = try volume.makeFile("/file")
    try volume.writeBytes(id, at: 0, [UInt8](repeating: 3, count: size))
    volume.files.flushAll()
    let extents = try Self.extents(volume, id)
    #expect(extents.count == 1 && extents[0].isInline && extents[0].inlineBytes.count == size)
    #expect(try volume.attributes.attributes(of: id).item.nbytes == UInt64(size))
    #expect(volume.space.groups.data.counters.withLock { $0.reservedData } == 0)
    try volume.unmount()
  }

  @Test func fileThatGrowsLeavesItsItem() throws {
    let volume = try Volume.mountForTest(try TestImage.make())
    let id = try volume.makeFile("/file")
    try volume.writeBytes(id, at: 0, [UInt8](repeating: 3, count: 2000))
    volume.files.flushAll()
    try volume.writeBytes(id, at: 2000, [UInt8](repeating: 4, count: 49))
    volume.files.flushAll()
    let extents = try Self.extents(volume, id)
    #expect(extents.count == 1 && !extents[0].isInline && extents[0].item.length == 4096)
    #expect(
      try volume.readBytes(id, at: 1999, count: 9999) == [3] + [UInt8](repeating: 4, count: 49))
    try volume.unmount()
  }

  @Test func inlineExtentIsNeverBesideAnother() throws {
    let volume = try Volume.mountForTest(try TestImage.make())
    let growths: [(InodeID) throws -> Void] = [
      { try volume.writeBytes($0, at: 100_000, [1]) },
      { try Self.setSize(volume, $0, 100_000) },
      { try volume.content.allocate($0, .keepSize, offset: 4096, length: 4096) },
      { try volume.content.allocate($0, .plain, offset: 10_000, length: 4096) },
      { try volume.content.allocate($0, .zeroRange, offset: 50, length: 10_000) },
    ]
    for (index, grow) in growths.enumerated() {
      let id = try volume.makeFile("/file\(index)")
      try volume.writeBytes(id, at: 0, [UInt8](repeating: 3, count: 100))
      volume.files.flushAll()
      try #require(try Self.extents(volume, id)[0].isInline)
      try grow(id)
      volume.files.flushAll()
      let extents = try Self.extents(volume, id)
      #expect(extents.count == 1 || !extents.contains { $0.isInline }, "case \(index)")
    }
    try volume.unmount()
  }

  // Preallocation.

  @Test func writesIntoPreallocatedSpaceStayThereAndMerge() throws {
    let volume = try Volume.mountForTest(try TestImage.make())
    let id = try volume.makeFile("/file")
    try volume.content.allocate(id, .plain, offset: 0, length: 1 << 20)
    let whole = try Self.extents(volume, id)
    try #require(whole.count == 1 && whole[0].isPreallocated)

    // Each second sector, then those between.
    for first in [0, 1] {
      for sector in stride(from: first, to: 64, by: 2) {
        try volume.writeBytes(
          id, at: UInt64(sector) * 4096, [UInt8](repeating: UInt8(sector + 1), count: 4096))
      }
      volume.files.flushAll()
    }
    let extents = try Self.extents(volume, id)
    #expect(extents.count == 2)
    #expect(extents[0].item.kind == .regular && extents[0].item.length == 64 * 4096)
    #expect(extents[1].isPreallocated)
    #expect(extents.allSatisfy { $0.item.diskAddress == whole[0].item.diskAddress })
    #expect(try volume.attributes.attributes(of: id).item.nbytes == 1 << 20)
    try volume.synchronizeAll()
    let state = try volume.references.state(
      of: whole[0].item.diskAddress, .data(length: 1 << 20))
    #expect(state.references == 2)
    try volume.unmount()
  }

  @Test func preallocatedFileCanBeWrittenWhenNothingElseCan() throws {
    let volume = try Volume.mountForTest(try TestImage.make(sizeBytes: 256 << 20))
    let id = try volume.makeFile("/preallocated")
    try volume.content.allocate(id, .plain, offset: 0, length: 4 << 20)
    let filler = try volume.makeFile("/filler")
    let written = try Self.fill(volume, filler)
    #expect(written > 50 << 20)

    let block = [UInt8](repeating: 8, count: 1 << 20)
    for index in 0..<4 { try volume.writeBytes(id, at: UInt64(index) << 20, block) }
    #expect(throws: FilesystemError.noSpace) { try volume.writeBytes(id, at: 4 << 20, block) }
    try volume.synchronizeAll()
    #expect(try volume.readBytes(id, at: 3 << 20, count: 1 << 20) == block)

    // And what was accepted of the other is all there; deleting it gives the space back.
    try volume.content.synchronize(filler, dataOnly: false)
    try volume.remove("/filler")
    try volume.writeBytes(id, at: 4 << 20, block)
    try volume.unmount()
  }

  @Test func preallocationBeyondAllSpaceTakesNothing() throws {
    let volume = try Volume.mountForTest(try TestImage.make(sizeBytes: 256 << 20))
    let id = try volume.makeFile("/file")
    #expect(throws: FilesystemError.noSpace) {
      try volume.content.allocate(id, .plain, offset: 0, length: 1 << 30)
    }
    #expect(try volume.attributes.attributes(of: id).item.nbytes == 0)
    #expect(volume.space.groups.data.counters.withLock { $0.reservedData } == 0)
    try volume.unmount()
  }

  /// Writes until there is no space; returns how much there was.
  static func fill(_ volume: Volume, _ id: InodeID) throws -> UInt64 {
    let block = [UInt8](repeating: 6, count: 1 << 20)
    var written: UInt64 = 0
    while true {
      do {
        written += UInt64(
          try block.withUnsafeBytes { try volume.content.write(id, at: written, $0) })
      } catch FilesystemError.noSpace {
        return written
      }
    }
  }

  // Memory.

  @Test func bufferedBytesAreBounded() throws {
    let volume = try Volume.mountForTest(try TestImage.make()) { $0.cacheBytes = 16 << 20 }
    let limit = volume.files.buffer.budget.limit
    #expect(limit == MemoryBudget(totalBytes: 16 << 20).fileData.limit)
    let id = try volume.makeFile("/file")
    var random = SeededRandom(testSeed: 5)
    let block = [UInt8](repeating: 1, count: 4096)
    var most = 0
    for _ in 0..<8000 {
      try volume.writeBytes(id, at: random.below(1 << 40), block)
      most = max(most, volume.files.bufferedBytes)
    }
    #expect(most < limit + (2 << 20))
    try volume.synchronizeAll()
    #expect(volume.files.bufferedBytes == 0)
    try volume.unmount()
  }

  @Test func hugeSparseFileIsCheap() throws {
    let volume = try Volume.mountForTest(try TestImage.make())
    let id = try volume.makeFile("/file")
    try Self.setSize(volume, id, UInt64(Int64.max))
    try volume.writeBytes(id, at: 1 << 60, [1, 2, 3])
    try volume.synchronizeAll()
    #expect(try volume.content.seek(id, from: 0, .data) == 1 << 60)
    #expect(
      try volume.readBytes(id, at: (1 << 60) + 1, count: 10) == [2, 3]
        + Array(repeating: 0, count: 8))
    #expect(throws: FilesystemError.fileTooLarge) {
      try volume.writeBytes(id, at: UInt64(Int64.max), [1])
    }
    try Self.setSize(volume, id, 0)
    #expect(try Self.extents(volume, id).isEmpty)
    try volume.unmount()
  }
}

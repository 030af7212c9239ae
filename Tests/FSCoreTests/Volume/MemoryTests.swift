import Glibc
import TestSupport
import Testing

@testable import FSCore

/// What is kept in memory, and its bound.
@Suite(.timeLimit(.minutes(10))) struct MemoryTests {
  // Pages.

  @Test func piecesAreWholeAndApart() {
    let memory = PageMemory()
    var random = SeededRandom(testSeed: 1)
    var held: [(piece: UnsafeMutableRawPointer, count: Int, mark: UInt8)] = []
    var used = 0
    for step in 0..<4000 {
      if held.count < 200, random.below(2) == 0 {
        let count = (random.below(20) == 0 ? random.below(2 << 20) : 40_000) + 1
        let piece = memory.take(count)
        #expect(Int(bitPattern: piece) % 4096 == 0)
        let mark = UInt8(truncatingIfNeeded: step)
        memset(piece, Int32(mark), count)
        held.append((piece, count, mark))
        if count <= 512 << 10 { used += PageMemory.size(holding: count) }
      } else if !held.isEmpty {
        let index = random.below(held.count)
        let (piece, count, mark) = held.remove(at: index)
        let bytes = UnsafeRawBufferPointer(start: piece, count: count)
        #expect(bytes.first == mark && bytes.last == mark && bytes[count / 2] == mark)
        memory.giveBack(piece, count)
        if count <= 512 << 10 { used -= PageMemory.size(holding: count) }
      }
      if step % 16 == 0 { #expect(memory.usedBytes == used) }
    }
  }

  @Test func spareMemoryGoesBack() throws {
    let memory = PageMemory()
    memory.raiseBound(to: 64 << 20)
    let large = (0..<400).map { _ in memory.take(128 << 10) }
    for piece in large { memset(piece, 1, 128 << 10) }
    for piece in large { memory.giveBack(piece, 128 << 10) }
    #expect(memory.usedBytes == 0)
    #expect(memory.spareBytes == 400 * (128 << 10))
    #expect(try resident(large, 128 << 10) == 400 * (128 << 10))

    // What others need takes the place of what is spare, whatever its size.
    let small = (0..<3800).map { _ in memory.take(16 << 10) }
    for piece in small { memset(piece, 1, 16 << 10) }
    #expect(memory.usedBytes + memory.spareBytes <= 64 << 20)
    #expect(try resident(large, 128 << 10) == memory.spareBytes)
    for piece in small { memory.giveBack(piece, 16 << 10) }
    #expect(memory.spareBytes <= 64 << 20)
    #expect(try resident(large, 128 << 10) + resident(small, 16 << 10) == memory.spareBytes)
  }

  /// How much of the pieces is in memory.
  private func resident(_ pieces: [UnsafeMutableRawPointer], _ size: Int) throws -> Int {
    var pages = [UInt8](repeating: 0, count: size / 4096)
    var count = 0
    for piece in pieces {
      try #require(mincore(piece, size, &pages) == 0)
      count += pages.count { $0 & 1 == 1 } * 4096
    }
    return count
  }

  // The budget.

  /// Block groups cannot be let go of: what many of them take, clean tree blocks do without.
  @Test func blockGroupsAreCharged() throws {
    let device = try TestImage.make(sizeBytes: 64 << 30)
    let volume = try Volume.mountForTest(device)
    let memory = volume.memory
    let few = volume.space.groups.all.count
    let each = memory.groups.used / few
    #expect(each > 1000)
    let file = try volume.makeFile("/large")
    for part in 0..<40 as Range<UInt64> {
      try volume.content.allocate(file, .plain, offset: part << 30, length: 1 << 30)
    }
    try volume.synchronizeAll()
    let many = volume.space.groups.all.count
    #expect(many > few + 30 && memory.groups.used == many * each)
    #expect(memory.cleanBlockLimit + memory.groups.used <= memory.totalBytes / 16 * 15)
    #expect(memory.cleanBlockLimit > memory.totalBytes / 2)

    try volume.remove("/large")
    try volume.synchronizeAll()
    try volume.periodicCommit.commit()
    while try volume.periodicCommit.giveBackEmptyChunks() {}
    try volume.synchronizeAll()
    #expect(volume.space.groups.all.count < many)
    #expect(memory.groups.used == volume.space.groups.all.count * each)
    try volume.unmount()
  }

  /// What is charged is what is there, and no pool goes far beyond its share, whatever the work.
  @Test(arguments: [UInt64(4096), 16384, 65536])
  func poolsKeepToTheirShares(nodeSize: UInt64) throws {
    let fixture = try NamesFixture(nodeSize: nodeSize)
    try fixture.remount {
      $0.cacheBytes = 8 << 20
      $0.commitInterval = 0.2
    }
    let volume = fixture.volume
    let memory = volume.memory
    var most = Peaks()
    let content = [UInt8](repeating: 7, count: 3000)
    let directory = try volume.makeDirectory("/directory")
    for number in 0..<4000 {
      let id = try volume.file("a-file-with-a-long-name-\(number)", in: directory)
      if number % 3 == 0 { try volume.writeBytes(id, at: 0, content) }
      if number % 16 == 0 { most.note(memory) }
    }
    let large = try volume.makeFile("/large")
    var random = SeededRandom(testSeed: 3)
    for _ in 0..<2500 {
      try volume.writeBytes(large, at: random.below(1 << 38), content)
      most.note(memory)
    }
    for number in stride(from: 0, to: 4000, by: 2) {
      try volume.remove("/directory/a-file-with-a-long-name-\(number)")
      if number % 16 == 0 { most.note(memory) }
    }

    // A commit adds what it changes in the extent tree itself.
    let block = Int(nodeSize)
    #expect(most.dirty < memory.dirtyBlocks.limit + (2 << 20) + 64 * block)
    #expect(most.references < memory.references.limit * 2)
    #expect(most.fileData < memory.fileData.limit + (2 << 20))
    #expect(most.inodes < memory.inodes.limit * 2)
    #expect(most.all < memory.totalBytes + (2 << 20) + 64 * block)

    try volume.synchronizeAll()
    #expect(memory.dirtyBlocks.used == 0)
    #expect(memory.references.used == 0)
    #expect(memory.fileData.used == 0)
    #expect(memory.inodes.used == volume.inodes.count * InodeTable.inodeBytes)
    let cache = volume.trees.context.cache
    #expect(memory.cleanBlocks.used == cache.counts.clean * cache.blockBytes)
    try fixture.unmountAndCheck()
  }

  private struct Peaks {
    var dirty = 0
    var references = 0
    var fileData = 0
    var inodes = 0
    var all = 0

    mutating func note(_ memory: MemoryBudget) {
      let now = (
        memory.dirtyBlocks.used, memory.references.used, memory.fileData.used, memory.inodes.used
      )
      dirty = max(dirty, now.0)
      references = max(references, now.1)
      fileData = max(fileData, now.2)
      inodes = max(inodes, now.3)
      all = max(all, now.0 + now.1 + now.2 + now.3 + memory.cleanBlocks.used)
    }
  }

  /// Clean blocks make room for what cannot be dropped.
  @Test func cleanBlocksYield() throws {
    let fixture = try TreeFixture(id: .uuid, cacheBytes: 4 << 20)
    let memory = fixture.memory
    for number in 0..<9000 {
      try fixture.transactions.perform(reserving: 0) { (h) throws(FilesystemError) in
        try fixture.tree.insert(Key(1, .uuidSubvolume, UInt64(number)), size: 400, in: h) {
          $0.zero()
        }
      }
    }
    #expect(memory.dirtyBlocks.used == fixture.cache.counts.dirty * fixture.cache.blockBytes)
    try fixture.commit()
    fixture.cache.trim()
    #expect(memory.dirtyBlocks.used == 0)
    #expect(memory.cleanBlocks.used == fixture.cache.counts.clean * fixture.cache.blockBytes)
    #expect(memory.cleanBlocks.used <= memory.cleanBlockLimit)
    let before = memory.cleanBlocks.used
    #expect(before > 3 << 20)

    memory.fileData.charge(3 << 20)
    fixture.cache.trim()
    #expect(memory.cleanBlocks.used <= memory.cleanBlockLimit)
    #expect(memory.cleanBlocks.used <= before - (2 << 20))
    memory.fileData.giveBack(3 << 20)
    #expect(try fixture.tree.checkedContent().items.count == 9000)
    // Each shard keeps a few.
    #expect(memory.cleanBlocks.used <= memory.cleanBlockLimit + 64 * fixture.cache.blockBytes)
  }
}

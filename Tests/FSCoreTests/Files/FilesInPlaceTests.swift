import TestSupport
import Testing

@testable import FSCore

/// Files without copy on write: chattr +C.
@Suite(.timeLimit(.minutes(10))) struct FilesInPlaceTests {
  private static let flags: InodeFlags = [.noDataCow, .noDataSum]

  /// Addresses and lengths of the file's extents.
  private func places(_ volume: Volume, _ id: InodeID) throws -> [String] {
    try FilesSpaceTests.extents(volume, id).map {
      "\($0.start) \($0.item.length) at \($0.item.diskAddress) + \($0.item.offset)"
    }
  }

  @Test func dataAreOverwrittenWhereTheyStand() throws {
    let fixture = try NamesFixture()
    let volume = fixture.volume
    let id = try volume.makeFile("/file")
    try volume.addFlags(id, Self.flags)
    var content = (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 / 999) }
    try volume.writeBytes(id, at: 0, content)
    try volume.synchronizeAll()
    let before = try places(volume, id)
    let used = volume.space.groups.totalUsed

    var random = SeededRandom(testSeed: 1)
    for round in 1...30 {
      for _ in 0..<8 {
        let start = random.below(990_000)
        let part = [UInt8](repeating: UInt8(round), count: 1 + random.below(9000))
        try volume.writeBytes(id, at: UInt64(start), part)
        content.replaceSubrange(start..<(start + part.count), with: part)
      }
      volume.files.flushAll()
      if round % 10 == 0 { try volume.commit() }
      #expect(try places(volume, id) == before)
    }
    try volume.synchronizeAll()
    #expect(volume.space.groups.totalUsed == used)
    #expect(volume.space.groups.data.counters.withLock { $0.reservedData } == 0)
    content = Array(content.prefix(1_000_000))
    #expect(try volume.readBytes(id, at: 0, count: 1 << 20) == content)

    // What makes the file longer, and what fills a hole, needs new space as ever.
    try volume.content.allocate(id, .punchHole, offset: 409_600, length: 40960)
    try volume.writeBytes(id, at: 420_000, [7])
    try volume.writeBytes(id, at: 999_000, [UInt8](repeating: 9, count: 9000))
    volume.files.flushAll()
    #expect(try places(volume, id).count > before.count)
    content.replaceSubrange(409_600..<450_560, with: [UInt8](repeating: 0, count: 40960))
    content[420_000] = 7
    content = Array(content.prefix(999_000)) + [UInt8](repeating: 9, count: 9000)
    #expect(try volume.readBytes(id, at: 0, count: 2 << 20) == content)
    try fixture.unmountAndCheck()
  }

  /// Which a file has whose flags came after its data.
  @Test func dataWithChecksumsAreNotOverwritten() throws {
    let volume = try Volume.mountForTest(try TestImage.make())
    let id = try volume.makeFile("/file")
    try volume.writeBytes(id, at: 0, [UInt8](repeating: 1, count: 400_000))
    try volume.synchronizeAll()
    let before = try FilesSpaceTests.extents(volume, id)[0].item.diskAddress
    try volume.addFlags(id, Self.flags)

    try volume.writeBytes(id, at: 81920, [UInt8](repeating: 2, count: 40960))
    volume.files.flushAll()
    try volume.writeBytes(id, at: 98304, [UInt8](repeating: 3, count: 4096))
    try volume.writeBytes(id, at: 204_800, [UInt8](repeating: 4, count: 4096))
    volume.files.flushAll()
    let extents = try FilesSpaceTests.extents(volume, id)
    #expect(extents.map { $0.start } == [0, 81920, 122_880, 204_800, 208_896])
    #expect(extents.map { $0.item.diskAddress == before } == [true, false, true, false, true])
    let expected: [(Int, UInt8)] = [
      (0, 1), (81920, 2), (98304, 3), (102_400, 2), (122_880, 1), (204_800, 4), (208_896, 1),
    ]
    for (offset, byte) in expected {
      let found = try volume.readBytes(id, at: UInt64(offset), count: 4096)
      #expect(found == [UInt8](repeating: byte, count: 4096))
    }
    try volume.unmount()
  }

  @Test func fileCanBeOverwrittenWhenTheVolumeIsFull() throws {
    let volume = try Volume.mountForTest(try TestImage.make(sizeBytes: 256 << 20))
    let id = try volume.makeFile("/file")
    try volume.addFlags(id, Self.flags)
    let block = { [UInt8](repeating: $0, count: 1 << 20) }
    for index in 0..<4 as Range<UInt64> { try volume.writeBytes(id, at: index << 20, block(1)) }
    try volume.synchronizeAll()
    _ = try FilesSpaceTests.fill(volume, try volume.makeFile("/filler"))

    for index in 0..<4 as Range<UInt64> { try volume.writeBytes(id, at: index << 20, block(2)) }
    #expect(throws: FilesystemError.noSpace) { try volume.writeBytes(id, at: 4 << 20, block(2)) }
    try volume.synchronizeAll()
    #expect(try volume.readBytes(id, at: 3 << 20, count: 1 << 20) == block(2))
    try volume.unmount()
  }

  private static let isPossible = isRoot && Shell.find("mkfs.btrfs") != nil

  /// What a clone shared with a file is not overwritten before it is durable that the clone is
  /// gone.
  @Test(.enabled(if: isPossible, "SKIPPED: needs root, for loop mounts by the kernel"))
  func deletedClonesAreThereAfterACrash() throws {
    let directory = try TemporaryDirectory(inMemory: true)
    let (image, mountPoint) = (directory.file("image"), try directory.directory("mount"))
    try Shell.run("truncate", "-s", "512M", image).orThrow()
    try Shell.run("mkfs.btrfs", "-q", "-R", "^free-space-tree", image).orThrow()
    let script = """
      cd "$1" && touch file clone && chattr +C file clone && head -c 300000 /dev/zero > file && sync &&
      cp --reflink=always file clone
      """
    let kernel = try LoopMount(image, at: mountPoint)
    try Shell.run("bash", "-c", script, "bash", mountPoint).orThrow()
    try kernel.unmount()

    let fixture = try NamesFixture(image: image, directory: directory)
    let volume = fixture.volume
    try volume.remove("/clone")
    // As the commit does it.
    try volume.transactions.performUnreserved { (handle) throws(FilesystemError) in
      try volume.references.run(in: handle)
    }
    let file = try volume.find("/file")
    let before = try places(volume, file)
    try volume.writeBytes(file, at: 0, [UInt8](repeating: 1, count: 100_000))
    volume.files.flushAll()
    let after = try fixture.afterCrash()
    let found = try after.volume.readBytes(after.volume.find("/clone"), at: 0, count: 400_000)
    #expect(found.count == 300_000)
    #expect(found.firstIndex { $0 != 0 } == nil)
    try after.unmountAndCheck()

    // From then on it is.
    try volume.synchronizeAll()
    let placed = try places(volume, file)
    #expect(placed != before)
    try volume.writeBytes(file, at: 0, [UInt8](repeating: 2, count: 200_000))
    try volume.synchronizeAll()
    #expect(try places(volume, file) == placed)
    try fixture.unmountAndCheck()
  }
}

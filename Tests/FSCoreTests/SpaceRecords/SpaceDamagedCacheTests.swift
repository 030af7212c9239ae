import Testing

@testable import FSCore

/// Cache files that are damaged in ways that checksums do not show.
@Suite(.timeLimit(.minutes(10))) struct SpaceDamagedCacheTests {
  private static func extent(
    _ address: UInt64, length: UInt64 = 4096, kind: FileExtentItem.Kind = .regular
  ) -> FileExtentItem {
    FileExtentItem(
      generation: Generation(3), kind: kind, diskAddress: LogicalAddress(address),
      diskLength: length, ramBytes: length, offset: 0, length: length)
  }

  private static func fault(
    _ items: [(UInt64, FileExtentItem)], size: UInt64, allowingUnwritten: Bool = false
  ) -> String? {
    var extents = CacheFileExtents()
    for (offset, item) in items { extents.append(offset, item) }
    return extents.fault(size: size, allowingUnwritten: allowingUnwritten)
  }

  @Test func whatACacheCannotHave() {
    let place: UInt64 = 13_631_488
    let good = Self.extent(place)
    #expect(Self.fault([(0, good)], size: 4096) == nil)
    #expect(Self.fault([(0, good), (4096, Self.extent(place, length: 8192))], size: 12288) == nil)

    // Too much, too little, not in pages, nothing.
    for size: UInt64 in [0, 1, 4095, 8192, 4096 * 1023, 1 << 40, .max, .max - 4095] {
      #expect(Self.fault([(0, good)], size: size) != nil, "\(size)")
    }
    #expect(Self.fault([], size: 4096) != nil)
    // Extents behind the end, behind a gap, over one another, and of lengths that overflow.
    let wrong: [[(UInt64, FileExtentItem)]] = [
      [(0, good), (4096, good)], [(4096, good)], [(0, good), (8192, good), (73_728, good)],
      [(0, good), (0, good)], [(0, Self.extent(place, length: 8192))],
      [(0, Self.extent(place, length: 0))], [(0, Self.extent(place, length: .max))],
      [(0, Self.extent(0))], [(0, Self.extent(.max - 4094))],
    ]
    for items in wrong { #expect(Self.fault(items, size: 4096) != nil, "\(items)") }
    var partial = good
    partial.offset = 4096
    #expect(Self.fault([(0, partial)], size: 4096) != nil)
    partial.offset = .max
    #expect(Self.fault([(0, partial)], size: 4096) != nil)

    let unwritten = Self.extent(place, kind: .preallocated)
    #expect(Self.fault([(0, unwritten)], size: 4096) != nil)
    #expect(Self.fault([(0, unwritten)], size: 4096, allowingUnwritten: true) == nil)
  }

  /// The commit makes a new cache, and leaves alone what the old one refers to.
  @Test(arguments: [UInt64(1) << 50, 13_631_488])
  func aDamagedFileFailsNoCommit(address: UInt64) throws {
    let device = try TestImage.make(sizeBytes: 4 << 30)
    let volume = try Volume.mountForTest(device)
    try volume.writeBytes(
      volume.makeFile("/large"), at: 0, [UInt8](repeating: 1, count: 10 << 20))
    try volume.synchronizeAll()
    let group = try #require(try CacheJudge.judge(device.copy()).valid.first)
    let reader = try ImageReader(device: device.copy())
    let chunk = try #require(reader.chunks.first { $0.start == group })
    let file = try #require(CacheSurvey(reader).survey(chunk, verify: false).file)

    let root = volume.trees.root
    let inode = FreeSpaceInode(group: group, number: file.number, root: root)
    let key = inode.extentKey(file.inode.size + 4096)
    let item = Self.extent(address)
    try volume.transactions.perform(reserving: 8) { (handle) throws(FilesystemError) in
      handle.noteChange()
      try root.insert(key, size: FileExtentItem.size, in: handle) { item.encode(into: $0) }
    }

    for round in 0..<3 {
      let id = try volume.makeFile("/after\(round)")
      try volume.writeBytes(id, at: 0, [UInt8](repeating: 2, count: 1 << 20))
      try volume.synchronizeAll()
      #expect(try volume.readBytes(id, at: 0, count: 2 << 20).count == 1 << 20)
    }
    try volume.remove("/large")
    try volume.synchronizeAll()
    #expect(volume.transactions.failure == nil)
    try volume.unmount()
    let after = CacheSurvey(try ImageReader(device: device)).survey(chunk, verify: true)
    #expect(after.verdict == .valid && after.comparison?.agrees == true)
    #expect(after.file?.number != file.number)
  }
}

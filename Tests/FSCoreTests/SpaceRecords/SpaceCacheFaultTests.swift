import Testing

@testable import FSCore

/// What may go wrong with one cache, and costs no more than that.
@Suite(.timeLimit(.minutes(1))) struct SpaceCacheFaultTests {
  /// A volume with a cache, and the group that has it.
  private static func make() throws -> (MemoryDevice, Volume, BlockGroup) {
    let device = try TestImage.make(sizeBytes: 4 << 30)
    let volume = try Volume.mountForTest(device)
    try volume.writeBytes(
      volume.makeFile("/large"), at: 0, [UInt8](repeating: 1, count: 10 << 20))
    try volume.synchronizeAll()
    let start = try #require(try CacheJudge.judge(device.copy()).valid.first)
    return (device, volume, try volume.space.groups.group(containing: start))
  }

  @Test func aShortageIsToldOnceAndOnceWhenItIsOver() throws {
    let lines = Guarded<[String]>([], rank: .leaf)
    let device = try TestImage.make(sizeBytes: 4 << 30)
    let volume = try Volume.mountForTest(device, log: lines)
    let id = try volume.makeFile("/file")
    func change(_ count: Int) throws {
      for round in 0..<count {
        try volume.writeBytes(id, at: 0, [UInt8](repeating: UInt8(round), count: 12 << 20))
        try volume.synchronizeAll()
      }
    }
    func counts() -> [Int] {
      ["no space to set", "there is space"].map { text in
        lines.withLock { $0.filter { $0.contains(text) }.count }
      }
    }

    try change(1)
    #expect(counts() == [0, 0])
    volume.caches.hooks.withLock { $0.refusesSetup = { _ in true } }
    try change(4)
    #expect(counts() == [1, 0])
    volume.caches.hooks.withLock { $0 = CacheFilesHooks() }
    try change(3)
    #expect(counts() == [1, 1])
    volume.caches.hooks.withLock { $0.refusesSetup = { _ in true } }
    try change(2)
    #expect(counts() == [2, 1])
    try volume.unmount()
  }

  enum Missing: CaseIterable, Sendable { case header, inode, extent }

  /// An item of a cache is gone between its being set up and its being written.
  @Test(arguments: Missing.allCases)
  func missingItemsCostOneCache(missing: Missing) throws {
    let (device, volume, group) = try Self.make()
    let root = volume.trees.root
    try volume.writeBytes(
      volume.makeFile("/more"), at: 0, [UInt8](repeating: 2, count: 1 << 20))
    volume.files.flushAll()
    try volume.transactions.performUnreserved { (handle) throws(FilesystemError) in
      try volume.references.prepare(in: handle)
      try volume.caches.prepare(in: handle)
      let header = try FreeSpaceInode.header(of: group.start, in: root)
      guard let header else { throw .notFound }
      let inode = FreeSpaceInode(group: group.start, number: header.inode, root: root)
      let key =
        switch missing {
        case .header: FreeSpaceHeader.key(of: group.start)
        case .inode: inode.inodeKey
        case .extent: inode.extentKey(0)
        }
      guard try root.delete(key, in: handle) else { throw .notFound }
    }
    #expect(volume.caches.state(of: group) == .setup)
    try volume.synchronizeAll()
    #expect(volume.caches.state(of: group) == .error)
    #expect(volume.transactions.failure == nil)
    #expect(volume.brokenInvariants() == [])
    if missing == .inode {
      // The header leads nowhere. Nobody believes that.
      let again = try Volume.mountForTest(device.copy())
      let same = try again.space.groups.group(containing: group.start)
      if case .found = try again.caches.freeSpace(of: same) { Issue.record("it is believed") }
      again.space.loader.load(same)
      #expect(same.loading == .loaded)
      try again.unmount()
    } else {
      try CacheJudge.judge(device.copy(), without: [group.start])
    }

    // The next commit makes it anew.
    try volume.makeFile("/after")
    try volume.synchronizeAll()
    #expect(volume.caches.state(of: group) == .written)
    try volume.unmount()
    let chunk = try #require(
      try ImageReader(device: device).chunks.first { $0.start == group.start })
    let found = CacheSurvey(try ImageReader(device: device)).survey(chunk, verify: true)
    #expect(found.verdict == .valid && found.comparison?.agrees == true)
  }

  /// No inode is to be had for a cache: the space that was found for it is free again.
  @Test func aFailedSetUpLeavesNothingInFlight() throws {
    let device = try TestImage.make(sizeBytes: 4 << 30)
    let volume = try Volume.mountForTest(device)
    let last = volume.caches.objectIDs.last.withLock { last in
      defer { last = UInt64.max - 256 }
      return last
    }
    let id = try volume.makeFile("/large")
    for round in 0..<3 {
      try volume.writeBytes(id, at: 0, [UInt8](repeating: UInt8(round), count: 10 << 20))
      try volume.synchronizeAll()
      #expect(volume.space.groups.all.allSatisfy { !$0.moment.hasDataInFlight })
      #expect(volume.brokenInvariants() == [])
    }
    let failed = volume.space.groups.all.filter { volume.caches.state(of: $0) == .error }
    #expect(!failed.isEmpty)

    volume.caches.objectIDs.last.withLock { $0 = last }
    try volume.writeBytes(id, at: 0, [UInt8](repeating: 7, count: 10 << 20))
    try volume.unmount()
    try CacheJudge.judge(device)
    try CacheJudge.check(device)
  }
}

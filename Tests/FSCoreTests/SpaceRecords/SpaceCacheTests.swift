import FreeSpace
import Synchronization
import TestSupport
import Testing

@testable import FSCore

/// The free space caches of whole volumes: exact at every commit, whatever happens to them.
@Suite(.timeLimit(.minutes(10))) struct SpaceCacheTests {
  struct Variant: Sendable, CustomTestStringConvertible {
    var name: String
    var seed: UInt64
    var sizeBytes: UInt64 = 4 << 30
    var nodeSize: UInt64?
    var isMixed = false
    var data: MakeFilesystem.Profile?
    var checksum = ChecksumType.crc32c
    var earlyWrites = false
    var testDescription: String { "\(name), seed \(seed)" }

    func makeImage() throws -> MemoryDevice {
      try TestImage.make(sizeBytes: sizeBytes) { options in
        options.nodeSize = nodeSize
        options.isMixed = isMixed
        options.data = data
        options.checksum = checksum
      }
    }
  }

  static let variants = [
    Variant(name: "default", seed: 1),
    Variant(name: "written early", seed: 2, earlyWrites: true),
    Variant(name: "4 KiB nodes", seed: 3, nodeSize: 4096),
    Variant(
      name: "64 KiB nodes", seed: 4, sizeBytes: 4 << 30, nodeSize: 65536, data: .dup),
    Variant(name: "mixed", seed: 5, isMixed: true),
    Variant(name: "sha256", seed: 6, checksum: .sha256, earlyWrites: true),
  ]

  @Test(arguments: variants)
  func everyCommitLeavesExactCaches(variant: Variant) throws {
    print("caches: \(variant.testDescription)")
    let device = try variant.makeImage()
    var random = SeededRandom(testSeed: variant.seed)
    for round in 0..<3 {
      let volume = try Volume.mountForTest(device)
      if variant.earlyWrites {
        volume.caches.hooks.withLock { $0.earlyWriteThreshold = 0 }
      }
      // More than the small groups of a new file system hold: the next ones have caches.
      let large = try volume.makeFile("/large\(round)")
      try volume.writeBytes(large, at: 0, [UInt8](repeating: 1, count: 10 << 20))
      var work = SpaceWorkload(volume, seed: random.next())
      for commit in 0..<4 {
        for _ in 0..<60 { try work.step() }
        try volume.synchronizeAll()
        let findings = try CacheJudge.judge(device.copy(), "round \(round), commit \(commit)")
        #expect(!findings.valid.isEmpty)
      }
      try volume.unmount()
      try CacheJudge.judge(device)
    }
    try CacheJudge.check(device)
  }

  /// Counts what the loader was asked, and what it could answer.
  private final class CountingLoader: FreeSpaceLoader {
    let inner: any FreeSpaceLoader
    let found = Atomic<Int>(0)
    let others = Atomic<Int>(0)
    init(_ inner: any FreeSpaceLoader) { self.inner = inner }

    func freeSpace(of group: BlockGroup) throws(FilesystemError) -> RecordedFreeSpace {
      let answer = try inner.freeSpace(of: group)
      if case .found = answer {
        found.add(1, ordering: .relaxed)
      } else if group.isCacheable {
        others.add(1, ordering: .relaxed)
      }
      return answer
    }

    func distrust(_ group: BlockGroup) { inner.distrust(group) }

    func changeInRecord(of group: BlockGroup) -> UInt64? { inner.changeInRecord(of: group) }
  }

  private static func mountCounting(_ device: any BlockDevice) throws -> (Volume, CountingLoader) {
    let volume = try Volume.mountForTest(device)
    let loader = CountingLoader(try #require(volume.space.loader.source))
    volume.space.loader.source = loader
    return (volume, loader)
  }

  private static func used(_ variant: Variant) throws -> MemoryDevice {
    let device = try variant.makeImage()
    let volume = try Volume.mountForTest(device)
    var work = SpaceWorkload(volume, seed: variant.seed)
    for _ in 0..<120 { try work.step() }
    try volume.unmount()
    return device
  }

  @Test(arguments: variants)
  func theNextMountBelievesTheCaches(variant: Variant) throws {
    let device = try Self.used(variant)
    let (volume, loader) = try Self.mountCounting(device)
    for group in volume.space.groups.all { volume.space.loader.load(group) }
    let cacheable = volume.space.groups.all.filter { $0.isCacheable && $0.used > 0 }.count
    #expect(loader.found.load(ordering: .relaxed) >= cacheable)
    #expect(volume.space.groups.all.allSatisfy { $0.loading == .loaded })

    // They say what the extent tree says.
    let scan = ExtentTreeScan(extentTree: volume.trees.extent, geometry: volume.geometry)
    for group in volume.space.groups.all {
      let ranges = Self.ranges(try scan.freeSpace(of: group))
      group.state.withLock { #expect(Self.ranges($0.index!) == ranges) }
    }
    try volume.unmount()
  }

  private static func ranges(_ index: FreeSpaceIndex) -> [UInt64] {
    var ranges: [UInt64] = []
    index.forEachRange { ranges += [$0, $1] }
    return ranges
  }

  /// One byte of a cache is wrong on the device: the group is scanned, and its cache replaced
  /// at the next commit.
  @Test(arguments: 0..<UInt64(12))
  func aTamperedCacheIsNotBelieved(seed: UInt64) throws {
    var random = SeededRandom(testSeed: seed)
    let device = try Self.used(Variant(name: "tampered", seed: seed))
    let victim = try #require(try CacheJudge.judge(device).valid.randomElement(using: &random))
    let reader = try ImageReader(device: device)
    let chunk = try #require(reader.chunks.first { $0.start == victim })
    let file = try #require(CacheSurvey(reader).survey(chunk, verify: false).file)
    let extent = try #require(file.extents.items.first).item
    // In the part that holds the checksums, the generation or the first entry.
    let at = extent.diskAddress + random.below(60)
    let isChecksumOfUnusedPage = at - extent.diskAddress >= 4 && at - extent.diskAddress < 64
    let byte = AlignedBuffer(count: 1)
    try reader.device.read(into: byte.bytes, at: at)
    byte.bytes[0] ^= UInt8(1 << random.below(8))
    try reader.device.write(byte.readable, at: at)

    let (volume, loader) = try Self.mountCounting(device)
    let group = try volume.space.groups.group(containing: victim)
    volume.space.loader.load(group)
    #expect(group.loading == .loaded)
    if !isChecksumOfUnusedPage {
      #expect(loader.others.load(ordering: .relaxed) == 1)
      #expect(volume.caches.state(of: group) == .clear)
    }
    try volume.makeFile("/one more")
    try volume.unmount()
    try CacheJudge.judge(device)
  }

  @Test func clearCacheAndNoCache() throws {
    let device = try Self.used(Variant(name: "clear", seed: 77))
    var volume = try Volume.mountForTest(device) { $0.clearCache = true }
    try volume.makeFile("/cleared")
    try volume.unmount()
    try CacheJudge.judge(device)
    try CacheJudge.check(device)

    volume = try Volume.mountForTest(device) { $0.spaceCache = .none }
    try volume.makeFile("/without")
    try volume.unmount()
    var reader = try ImageReader(device: device)
    #expect(reader.superblock.cacheGeneration == 0)
    for chunk in reader.chunks {
      #expect(CacheSurvey(reader).survey(chunk, verify: false).header == nil)
    }
    try CacheJudge.check(device)

    // An image without caches stays so until somebody asks for them.
    volume = try Volume.mountForTest(device)
    try volume.makeFile("/still without")
    try volume.unmount()
    #expect(try ImageReader(device: device).superblock.cacheGeneration == 0)
    try CacheJudge.check(device)

    volume = try Volume.mountForTest(device) { $0.spaceCache = .v1 }
    try volume.makeFile("/with again")
    try volume.unmount()
    reader = try ImageReader(device: device)
    #expect(reader.superblock.cacheGeneration == reader.superblock.generation.rawValue)
    try CacheJudge.check(device)
  }

  enum Fault: CaseIterable { case pages, io, setup }

  /// A cache that fails costs that cache only; the commit after has it again.
  @Test(arguments: Fault.allCases)
  func aFailingCacheDoesNotFailTheCommit(fault: Fault) throws {
    let device = try Self.used(Variant(name: "faults", seed: 5))
    let volume = try Volume.mountForTest(device)
    var work = SpaceWorkload(volume, seed: 6)
    for _ in 0..<40 { try work.step() }
    try volume.synchronizeAll()
    let victim = try #require(try CacheJudge.judge(device.copy()).valid.first)

    volume.caches.hooks.withLock { hooks in
      switch fault {
      case .pages: hooks.refusesPages = { $0 == victim }
      case .io:
        hooks.writeFailure = {
          $0 == victim ? .device(operation: "write", offset: 0, code: 5) : nil
        }
      case .setup: hooks.refusesSetup = { $0 == victim }
      }
    }
    for _ in 0..<40 { try work.step() }
    try volume.synchronizeAll()
    let group = try volume.space.groups.group(containing: victim)
    #expect(volume.caches.state(of: group) == .error)
    // Without space for one, none is set up after it.
    let without = fault == .setup ? Set(volume.space.groups.all.map(\.start)) : [victim]
    try CacheJudge.check(device.copy())
    let findings = try CacheJudge.judge(device.copy(), without: without)
    #expect(!findings.valid.contains(victim))
    if fault != .setup {
      // Its file is still the preallocated one that was to be written.
      let reader = try ImageReader(device: device.copy())
      let chunk = try #require(reader.chunks.first { $0.start == victim })
      let found = CacheSurvey(reader).survey(chunk, verify: true)
      #expect(found.verdict == .givenUp)
      #expect(found.file?.extents.items.first?.item.kind == .preallocated)
      #expect(found.reasons == ["the inode's generation is 0"])
    }

    volume.caches.hooks.withLock { $0 = CacheFilesHooks() }
    for _ in 0..<40 { try work.step() }
    try volume.synchronizeAll()
    #expect(volume.caches.state(of: group) == .written)
    try CacheJudge.judge(device.copy())
    try volume.unmount()
    try CacheJudge.check(device)
  }

  @Test func dataInFlightLeavesTheCacheDisowned() throws {
    let device = try Self.used(Variant(name: "in flight", seed: 8))
    let volume = try Volume.mountForTest(device)
    // More than the small group of a new file system has: there is a large one now.
    try volume.space.reservations.reserveData(64 << 20, items: 0)
    volume.space.reservations.releaseData((64 << 20) - 8192)
    let large = try #require(
      volume.space.groups.all.first { $0.isCacheable && $0.flags.contains(.data) })
    let (address, length) = try volume.space.allocator.allocateData(
      length: 8192, minimum: 4096, hint: large.start, usingReserved: true)
    let group = try volume.space.groups.group(containing: address)
    #expect(group.isCacheable)
    try volume.makeFile("/a")
    try volume.writeBytes(volume.find("/a"), at: 0, [UInt8](repeating: 1, count: 100_000))
    try volume.synchronizeAll()
    try CacheJudge.judge(device.copy(), without: [group.start])

    volume.space.allocator.abandon(address, length: length)
    try volume.writeBytes(volume.find("/a"), at: 0, [UInt8](repeating: 2, count: 100_000))
    try volume.unmount()
    try CacheJudge.judge(device)
    try CacheJudge.check(device)
  }

  /// More groups than are written in one batch, most of them before the critical section.
  @Test func manyGroups() throws {
    let device = try TestImage.make(sizeBytes: 2 << 40)
    var volume = try Volume.mountForTest(device)
    for number in 0..<5 as Range<UInt64> {
      let id = try volume.makeFile("/large\(number)")
      try volume.content.allocate(id, .plain, offset: 0, length: 12 << 30)
    }
    try volume.synchronizeAll()
    #expect(try CacheJudge.judge(device.copy()).valid.count > 60)
    try volume.unmount()

    // Everything is freed in groups that this mount has not loaded before.
    volume = try Volume.mountForTest(device)
    for number in 0..<5 { try volume.remove("/large\(number)") }
    try volume.synchronizeAll()
    let findings = try CacheJudge.judge(device.copy())
    #expect(findings.valid.count > 60)
    try volume.unmount()
    try CacheJudge.judge(device)
  }

  /// So many free ranges that they do not fit as extents: the cache has bitmaps.
  @Test func aFragmentedGroupHasBitmaps() throws {
    let device = try TestImage.make(sizeBytes: 3 << 29)
    var volume = try Volume.mountForTest(device)
    try volume.fragment("/fragments", holes: 5000)
    try volume.unmount()
    try CacheJudge.judge(device)
    try CacheJudge.check(device)
    let reader = try ImageReader(device: device)
    let survey = CacheSurvey(reader)
    let bitmaps = reader.chunks.map { survey.survey($0, verify: false).header?.bitmapCount ?? 0 }
    #expect(bitmaps.contains { $0 > 0 })

    volume = try Volume.mountForTest(device)
    for group in volume.space.groups.all { volume.space.loader.load(group) }
    #expect(
      volume.space.groups.all.allSatisfy {
        $0.loading == .loaded && volume.caches.state(of: $0) != .clear
      })
    try volume.makeFile("/after")
    try volume.remove("/fragments")
    try volume.unmount()
    try CacheJudge.judge(device)
    try CacheJudge.check(device)
  }
}

import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// Whatever a power cut leaves of a commit: the caches that the surviving superblock vouches for
/// are exact, those of the commit before as well as the new ones.
@Suite(.timeLimit(.minutes(10))) struct SpacePowerCutTests {
  @Test(arguments: [UInt64(31), 32, 33])
  func everyCutLeavesExactCaches(seed: UInt64) throws {
    print("caches and power cuts, seed \(seed)")
    var random = SeededRandom(testSeed: seed)
    let base = try TestImage.make(sizeBytes: 4 << 30) { options in
      if seed == 32 { options.nodeSize = 4096 }
      if seed == 33 { options.data = .dup }
    }
    let device = try SimulatedDevice(base, recording: true)
    let volume = try Volume.mountForTest(device)
    if seed == 31 { volume.caches.hooks.withLock { $0.earlyWriteThreshold = 0 } }
    var work = SpaceWorkload(volume, seed: seed)
    // More than the small group of a new file system holds: the next one has a cache.
    let large = try volume.makeFile("/large")
    try volume.writeBytes(large, at: 0, [UInt8](repeating: 1, count: 10 << 20))
    for _ in 0..<6 {
      for _ in 0..<40 { try work.step() }
      try volume.synchronizeAll()
    }
    let groups = Set(volume.space.groups.all.map(\.start))
    try volume.unmount()

    let recorded = device.recorded
    var believed = 0
    var judged = 0
    for cut in stride(from: recorded.count, to: 0, by: -max(1, recorded.count / 60)) {
      let density = random.below(101)
      let image = try device.image(
        after: cut, of: recorded, density: density, random: &random)
      let reader = try ImageReader(device: image)
      // Before the first commit nothing is certain.
      guard reader.superblock.cacheGeneration == reader.superblock.generation.rawValue else {
        continue
      }
      believed += try CacheJudge.judge(image, without: groups, "cut \(cut)").valid.count
      if TestSeed.isThorough || judged % 30 == 17 { try judgeByLinux(image, cut) }
      judged += 1
    }
    #expect(believed > 40)
  }

  /// The free space tree, while the volume is worked on and while the record is changed for another
  /// one at mount: whatever is left has the one record or the other, whole.
  @Test(arguments: [
    (VolumeOptions.SpaceCache.v2, VolumeOptions.SpaceCache.asImage, UInt64(41)), (.v1, .v2, 42),
    (.v2, .v1, 43), (.v2, .none, 44), (.v1, .none, 45), (.none, .v1, 46), (.none, .v2, 47),
  ])
  func everyCutLeavesOneRecord(
    from: VolumeOptions.SpaceCache, to: VolumeOptions.SpaceCache, seed: UInt64
  ) throws {
    print("from \(from) to \(to) and power cuts, seed \(seed)")
    var random = SeededRandom(testSeed: seed)
    let base = try TestImage.make(sizeBytes: 4 << 30) { options in
      options.spaceRecord = from == .v2 ? .v2 : .v1
      options.hasBlockGroupTree = to == .asImage
      if seed == 42 { options.nodeSize = 4096 }
    }
    let first = try Volume.mountForTest(base) { if from == .none { $0.spaceCache = .none } }
    try first.writeBytes(first.makeFile("/large"), at: 0, [UInt8](repeating: 1, count: 10 << 20))
    try first.fragment("/fragments", holes: 200)
    try first.unmount()
    let device = try SimulatedDevice(base, recording: true)
    let volume = try Volume.mountForTest(device) { $0.spaceCache = to }
    var work = SpaceWorkload(volume, seed: seed)
    for _ in 0..<2 {
      for _ in 0..<30 { try work.step() }
      try volume.synchronizeAll()
    }
    let groups = Set(volume.space.groups.all.map(\.start))
    try volume.unmount()

    let recorded = device.recorded
    var kinds: [VolumeOptions.SpaceCache: Int] = [:]
    var cuts = 0
    for cut in stride(from: recorded.count, to: 0, by: -max(1, recorded.count / 40)) {
      let image = try device.image(
        after: cut, of: recorded, density: random.below(101), random: &random)
      let superblock = try ImageReader(device: image).superblock
      let kind: VolumeOptions.SpaceCache
      if superblock.readOnlyFeatures.contains(.freeSpaceTree) {
        kind = .v2
        try FreeSpaceTreeJudge.judge(image, "cut \(cut)")
        try FreeSpaceTreeJudge.expectNoCaches(image)
      } else if superblock.cacheGeneration == superblock.generation.rawValue {
        kind = .v1
        try CacheJudge.judge(image, without: groups, "cut \(cut)")
        try FreeSpaceTreeJudge.expectNoTree(image)
      } else {
        kind = .none
        try FreeSpaceTreeJudge.expectNoRecord(image)
      }
      kinds[kind, default: 0] += 1
      if random.oneIn(12) { try CacheJudge.check(image) }
      if TestSeed.isThorough || cuts % 30 == 17 { try judgeByLinux(image, cut) }
      cuts += 1
    }
    let target = to == .asImage ? from : to
    #expect(kinds[target] ?? 0 > 10 && kinds.keys.allSatisfy { [from, target].contains($0) })
  }

  /// Linux finds what we find.
  private func judgeByLinux(_ image: MemoryDevice, _ cut: Int) throws {
    let mounted = try Volume.mountForTest(image) { $0.readOnly = true }
    let lines = try mounted.stateLines()
    try mounted.unmount()
    try LinuxJudge.judge(image, [lines], "cut \(cut)")
  }
}

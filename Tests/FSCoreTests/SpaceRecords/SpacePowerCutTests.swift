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
    }
    #expect(believed > 40)
  }
}

import FreeSpace
import TestSupport
import Testing

@testable import FSCore

/// Caches go to and fro between the kernel and us: each believes what the other wrote, and what
/// we load from the kernel's caches is what the extent tree says.
@Suite(.enabled(if: isRoot, "SKIPPED: needs root, for loop mounts by the kernel"), .serialized)
struct SpaceKernelTests {
  @Test(arguments: [
    "plain", "node4k", "dup-data", "mixed", "v2", "v2-node4k", "v2-mixed", "block-group-tree",
  ])
  func cachesGoToAndFro(name: String) throws {
    print("caches and the kernel: \(name)")
    var variant = try #require(ImageVariant.named(name))
    variant.size = "1536M"
    let directory = try TemporaryDirectory()
    let image = directory.file("image")
    try variant.makeWithKernelTools(image)

    for round in 0..<3 {
      let kernel = try LoopMount(
        image, at: directory.file("mount"), options: variant.kernelOptions(turn: 0))
      // Whole files, holes between them, and what was freed in several transactions.
      try Shell.run(
        "sh", "-c",
        """
        cd \(kernel.directory) && mkdir -p k && for i in $(seq 1 400); do
          head -c $((i * 997 % 70000 + 1)) /dev/urandom > k/$i-\(round)
        done && head -c 30000000 /dev/urandom > k/large-\(round) && sync -f . &&
        rm -f k/*[13579]-\(round) && sync -f . && for i in $(seq 1 2 300); do
          fallocate -p -o $((i * 65536)) -l 20480 k/large-\(round)
        done && sync -f .
        """
      ).orThrow()
      try kernel.expectCleanLog()
      try kernel.unmount()

      let device = try FileDevice(path: image, readOnly: false)
      let volume = try Volume.mountForTest(device)
      try expectTrueLoads(volume, device)
      var work = SpaceWorkload(volume, seed: UInt64(round + 1))
      for _ in 0..<150 { try work.step() }
      try volume.synchronizeAll()
      for _ in 0..<100 { try work.step() }
      if round == 1 { try volume.fragment("/fragments", holes: 5000) }
      try volume.unmount()
      if variant.record == .v1 {
        try CacheJudge.judge(device)
      } else {
        try FreeSpaceTreeJudge.judge(device)
      }
      let check = try ImageCheck(image)
      try check.expectSound()
    }
    let kernel = try LoopMount(
      image, at: directory.file("mount"), options: variant.kernelOptions(turn: 0))
    try Shell.run("cp", "-r", kernel.directory + "/k", kernel.directory + "/copy").orThrow()
    try kernel.sync()
    try kernel.expectCleanLog()
    try kernel.unmount()
    try ImageCheck(image).expectSound()
  }

  /// Loads every group; what came from a cache must be what the extent tree says, and every
  /// cache that is whole must have been believed.
  private func expectTrueLoads(_ volume: Volume, _ device: FileDevice) throws {
    let survey = CacheSurvey(try ImageReader(device: device))
    let scan = ExtentTreeScan(extentTree: volume.trees.extent, geometry: volume.geometry)
    let loader = try #require(volume.space.freeSpaceLoader)
    var loaded = 0
    for group in volume.space.groups where group.isCacheable || volume.space.notesChanges {
      let chunk = try volume.device.chunks.chunk(containing: group.start)
      let isValid = survey.survey(chunk, verify: true).verdict == .valid
      guard case .found(let index) = try loader.freeSpace(of: group) else {
        #expect(!isValid, "group \(group.start) was not believed")
        continue
      }
      #expect(isValid)
      loaded += 1
      var ranges: [[UInt64]] = [[], []]
      index.forEachRange { ranges[0] += [$0, $1] }
      let truth =
        volume.space.notesChanges ? try scan.gaps(of: group) : try scan.freeSpace(of: group)
      truth.forEachRange { ranges[1] += [$0, $1] }
      #expect(ranges[0] == ranges[1], "group \(group.start)")
    }
    print("  \(loaded) caches of the kernel were loaded")
    #expect(loaded > 0)
  }
}

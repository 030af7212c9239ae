import FreeSpace
import Glibc
import TestSupport
import Testing

@testable import FSCore

/// Caches go to and fro between the kernel and us: each believes what the other wrote, and what
/// we load from the kernel's caches is what the extent tree says.
@Suite(
  .enabled(if: isRoot, "SKIPPED: needs root, for loop mounts by the kernel"), .serialized,
  .timeLimit(.minutes(3)))
struct SpaceKernelTests {
  @Test(arguments: [
    "plain", "node4k", "dup-data", "mixed", "v2", "v2-node4k", "v2-mixed", "block-group-tree",
  ])
  func cachesGoToAndFro(name: String) throws {
    print("caches and the kernel: \(name)")
    var variant = try #require(ImageVariant.named(name))
    variant.size = "1536M"
    let directory = try TemporaryDirectory(inMemory: true)
    let image = directory.file("image")
    try variant.makeWithKernelTools(image)

    for round in 0..<3 {
      let kernel = try LoopMount(
        image, at: directory.file("mount"), options: variant.kernelOptions(turn: 0))
      try useSpace(kernel, round: round)
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

  /// Whole files, holes between them, and what was freed in several transactions.
  private func useSpace(_ kernel: LoopMount, round: Int) throws {
    var random = SeededRandom(testSeed: UInt64(round))
    let directory = BytePath(kernel.directory).appending("k")
    if round == 0 { try check("mkdir") { directory.withCPath { mkdir($0, 0o755) } } }
    func write(_ name: String, _ length: Int) throws {
      var bytes = [UInt8](repeating: 0, count: length)
      bytes.withUnsafeMutableBytes { random.fillNonZero($0) }
      try writeFile(directory.appending(name), bytes)
    }
    for number in 1...400 { try write("\(number)-\(round)", number * 997 % 70000 + 1) }
    try write("large-\(round)", 30_000_000)
    try kernel.sync()
    for number in stride(from: 1, through: 400, by: 2) {
      let path = directory.appending("\(number)-\(round)")
      try check("unlink") { path.withCPath { unlink($0) } }
    }
    try kernel.sync()
    let large = directory.appending("large-\(round)")
    let descriptor = try check("open") { large.withCPath { open($0, O_RDWR) } }
    defer { close(descriptor) }
    let mode = Linux.fallocatePunchHole | Linux.fallocateKeepSize
    for number in stride(from: 1, through: 300, by: 2) {
      try check("punch") { Linux.fallocate(descriptor, mode, number * 65536, 20480) }
    }
    try kernel.sync()
  }

  /// Loads every group; what came from a cache must be what the extent tree says, and every
  /// cache that is whole must have been believed.
  private func expectTrueLoads(_ volume: Volume, _ device: FileDevice) throws {
    let survey = CacheSurvey(try ImageReader(device: device))
    let scan = ExtentTreeScan(extentTree: volume.trees.extent, geometry: volume.geometry)
    let loader = try #require(volume.space.loader.source)
    var loaded = 0
    for group in volume.space.groups.all where group.isCacheable || volume.space.groups.notesChanges
    {
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
        volume.space.groups.notesChanges ? try scan.gaps(of: group) : try scan.freeSpace(of: group)
      truth.forEachRange { ranges[1] += [$0, $1] }
      #expect(ranges[0] == ranges[1], "group \(group.start)")
    }
    print("  \(loaded) caches of the kernel were loaded")
    #expect(loaded > 0)
  }
}

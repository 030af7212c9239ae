import FreeSpace
import Glibc
import TestSupport
import Testing

@testable import FSCore

/// Linux reads a cache's file by its size: it believes short ones, and makes those that it writes as
/// long as it always does. Several turns each.
@Suite(
  .enabled(if: isRoot, "SKIPPED: needs root, for loop mounts by the kernel"), .serialized,
  .timeLimit(.minutes(3)))
struct ShortCacheKernelTests {
  @Test(arguments: ["plain", "node4k", "dup-data", "mixed"])
  func shortFilesGoToAndFro(name: String) throws {
    print("short caches and the kernel: \(name)")
    var variant = try #require(ImageVariant.named(name))
    variant.size = "3G"
    let directory = try TemporaryDirectory(inMemory: true)
    let image = directory.file("image")
    try variant.makeWithKernelTools(image)
    let options = variant.kernelOptions(turn: 0)

    for round in 0..<4 {
      let device = try FileDevice(path: image, readOnly: false)
      let volume = try Volume.mountForTest(device)
      try expectTrueLoads(volume)
      var work = SpaceWorkload(volume, seed: UInt64(round + 51))
      try volume.writeBytes(
        volume.makeFile("/large\(round)"), at: 0, [UInt8](repeating: 7, count: 12 << 20))
      for _ in 0..<60 { try work.step() }
      if round == 2 { try volume.fragment("/fragments", holes: 3000) }
      try volume.synchronizeAll()
      for _ in 0..<60 { try work.step() }
      try volume.unmount()
      let valid = try CacheJudge.judge(device).valid
      try ImageCheck(image).expectSound()

      // Whatever we wrote is short; a fragmented group's is longer than the others. Those that Linux
      // wrote and nobody has changed since are as they were.
      let written = volume.space.groups.all.filter { volume.caches.cache(of: $0).isOurs }
      let ours = try sizes(device).filter { size in
        valid.contains(size.key) && written.contains { $0.start == size.key }
      }
      let full = try fullSizes(device)
      #expect(!ours.isEmpty && ours.allSatisfy { $0.value < full[$0.key, default: 0] })
      if round < 2 { #expect(ours.allSatisfy { $0.value <= 16 << 10 }, "\(ours)") }

      let victim = try #require(ours.keys.max { used($0, volume) < used($1, volume) })
      try expectThatLinuxReads(victim, of: image, directory, options, device)

      let kernel = try LoopMount(image, at: directory.file("mount"), options: options)
      try useSpace(kernel.directory, round)
      try kernel.expectCleanLog()
      try kernel.unmount()
      try ImageCheck(image).expectSound()
      let theirs = try sizes(device)
      #expect(theirs[victim] == full[victim], "Linux has not set the cache up anew")
    }
  }

  private func used(_ group: LogicalAddress, _ volume: Volume) -> UInt64 {
    (try? volume.space.groups.group(containing: group).used) ?? 0
  }

  /// The sizes of the caches' files by group.
  private func sizes(_ device: any BlockDevice) throws -> [LogicalAddress: UInt64] {
    let reader = try ImageReader(device: device)
    let survey = CacheSurvey(reader)
    var sizes: [LogicalAddress: UInt64] = [:]
    for chunk in reader.chunks {
      guard let file = survey.survey(chunk, verify: false).file else { continue }
      sizes[chunk.start] = file.extents.items.reduce(0) { $0 + $1.item.length }
    }
    return sizes
  }

  private func fullSizes(_ device: any BlockDevice) throws -> [LogicalAddress: UInt64] {
    let chunks = try ImageReader(device: device).chunks
    return Dictionary(
      uniqueKeysWithValues: chunks.map {
        ($0.start, CacheLayout.byteCount(forGroupLength: $0.length))
      })
  }

  /// Every whole cache is believed, and says what the extent tree says.
  private func expectTrueLoads(_ volume: Volume) throws {
    let scan = ExtentTreeScan(extentTree: volume.trees.extent, geometry: volume.geometry)
    for group in volume.space.groups.all where group.isCacheable {
      guard case .found(let index) = try volume.caches.freeSpace(of: group) else { continue }
      var ranges: [[UInt64]] = [[], []]
      index.forEachRange { ranges[0] += [$0, $1] }
      try scan.freeSpace(of: group).forEachRange { ranges[1] += [$0, $1] }
      #expect(ranges[0] == ranges[1], "group \(group.start)")
    }
  }

  /// A copy of the image in which one short cache has a wrong bit: Linux says so. It would not had it
  /// not read the cache, or not thought of believing it.
  private func expectThatLinuxReads(
    _ group: LogicalAddress, of image: String, _ directory: TemporaryDirectory,
    _ options: String, _ original: any BlockDevice
  ) throws {
    let copy = directory.file("copy")
    try Shell.run("cp", "--sparse=always", image, copy).orThrow()
    let device = try FileDevice(path: copy, readOnly: false)
    let reader = try ImageReader(device: device)
    let chunk = try #require(reader.chunks.first { $0.start == group })
    let file = try #require(CacheSurvey(reader).survey(chunk, verify: false).file)
    let extent = try #require(file.extents.items.first).item
    let byte = AlignedBuffer(count: 1)
    // In the first entry.
    let at = extent.diskAddress + extent.length / UInt64(CacheLayout.pageSize) * 4 + 10
    try reader.device.read(into: byte.bytes, at: at)
    byte.bytes[0] ^= 1
    try reader.device.write(byte.readable, at: at)
    try reader.device.flush()

    let kernel = try LoopMount(copy, at: directory.file("copied"), options: options)
    try useSpace(kernel.directory, 99)
    let said = kernel.log.all(device: kernel.device)
    try kernel.unmount()
    #expect(
      said.contains { $0.contains("\(group)") && $0.contains("free space cache") },
      "Linux does not mind: \(said)")
    unlink(copy)
  }

  /// Fills and frees, so that every group with room is allocated from.
  private func useSpace(_ mount: String, _ round: Int) throws {
    var random = SeededRandom(testSeed: UInt64(round))
    let directory = BytePath(mount)
    func write(_ name: String, _ length: Int) throws {
      var bytes = [UInt8](repeating: 0, count: length)
      bytes.withUnsafeMutableBytes { random.fillNonZero($0) }
      try writeFile(directory.appending(name), bytes)
    }
    for number in 1...60 { try write("k\(number)-\(round)", number * 9973 % 700_000 + 1) }
    try write("large-\(round)", 24_000_000)
    try syncFileSystem(mount)
    for number in stride(from: 1, through: 60, by: 2) {
      let path = directory.appending("k\(number)-\(round)")
      try check("unlink") { path.withCPath { unlink($0) } }
    }
    try syncFileSystem(mount)
  }
}

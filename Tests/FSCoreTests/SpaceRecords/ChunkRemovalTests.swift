import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// Chunks that nobody needs any more go back to the device.
@Suite(.timeLimit(.minutes(5))) struct ChunkRemovalTests {
  struct Variant: Sendable, CustomTestStringConvertible {
    let name: String
    var record = VolumeOptions.SpaceCache.v1
    var hasDupData = false
    var isMixed = false
    var testDescription: String { name }
  }

  static let variants = [
    Variant(name: "v1"),
    Variant(name: "v2", record: .v2),
    Variant(name: "none", record: .none),
    Variant(name: "DUP data", hasDupData: true), Variant(name: "mixed", isMixed: true),
  ]

  private static func makeImage(_ variant: Variant, megabytes: UInt64) throws -> MemoryDevice {
    try TestImage.make(sizeBytes: megabytes << 20) { options in
      if variant.hasDupData { options.data = .dup }
      options.isMixed = variant.isMixed
      options.spaceRecord = variant.record == .v2 ? .v2 : .v1
    }
  }

  private static func mount(_ device: MemoryDevice, _ variant: Variant) throws -> Volume {
    try Volume.mountForTest(device) { $0.spaceCache = variant.record }
  }

  private static func fill(_ volume: Volume, _ path: String, megabytes: UInt64) throws {
    let id = try volume.makeFile(path)
    try volume.content.allocate(id, .plain, offset: 0, length: megabytes << 20)
  }

  private static func chunks(_ volume: Volume, _ type: BlockGroupFlags) -> Int {
    volume.space.groups.all.count { $0.flags.contains(type) }
  }

  /// Fills a volume with data, empties it, and looks twice, as the periodic commit does.
  @Test(arguments: variants) func emptyChunksGo(variant: Variant) throws {
    let device = try Self.makeImage(variant, megabytes: 1024)
    let volume = try Self.mount(device, variant)
    let unallocated = volume.space.chunks.allocator.unallocated
    try Self.fill(volume, "/large", megabytes: 300)
    let kept = try volume.makeFile("/kept")
    try volume.writeBytes(kept, at: 0, [UInt8](repeating: 7, count: 50_000))
    try volume.synchronizeAll()
    #expect(Self.chunks(volume, .data) > 2)
    try volume.remove("/large")
    for _ in 0..<12 {
      try volume.synchronizeAll()
      try volume.remover.removeIdle()
    }
    try volume.synchronizeAll()
    #expect(Self.chunks(volume, .data) <= 2)
    #expect(volume.brokenInvariants() == [])
    #expect(volume.space.chunks.allocator.unallocated + (192 << 20) >= unallocated)
    let chunks = volume.space.groups.all.map(\.start)
    #expect(volume.device.chunks.all.map(\.start) == chunks)
    try CacheJudge.check(device.copy())

    // What was given back can be had again.
    try Self.fill(volume, "/again", megabytes: 300)
    try volume.synchronizeAll()
    try volume.unmount()
    try CacheJudge.check(device)
  }

  /// The whole device is data; then it is needed for tree blocks.
  @Test(arguments: variants.prefix(2)) func spaceOfDataServesMetadata(variant: Variant) throws {
    func count(prefilled: Bool) throws -> Int {
      let device = try Self.makeImage(variant, megabytes: 192)
      let volume = try Self.mount(device, variant)
      if prefilled {
        var index = 0
        while (try? Self.fill(volume, "/large\(index)", megabytes: 4)) != nil { index += 1 }
        try? volume.synchronizeAll()
        for name in 0...index { try? volume.remove("/large\(name)") }
        try volume.synchronizeAll()
      }
      let target = [UInt8](repeating: UInt8(ascii: "t"), count: 3800)
      var links = 0
      do {
        while true {
          _ = try volume.namespace.makeSymbolicLink(
            Array("link\(links)".utf8), in: volume.rootDirectory, target: target, Volume.testOwner)
          links += 1
        }
      } catch FilesystemError.noSpace {}
      try volume.synchronizeAll()
      #expect(volume.brokenInvariants() == [])
      try volume.unmount()
      try CacheJudge.check(device)
      return links
    }
    let fresh = try count(prefilled: false)
    let reused = try count(prefilled: true)
    #expect(Double(reused) >= 0.95 * Double(fresh), "\(reused) of \(fresh)")
  }

  /// Wherever the power is cut while chunks go and their places are used anew, the image is right.
  @Test(arguments: variants.prefix(2)) func powerCutsWhileChunksGo(variant: Variant) throws {
    print("power cuts while chunks go, seed 77")
    var random = SeededRandom(testSeed: 77)
    let device = try SimulatedDevice(
      Self.makeImage(variant, megabytes: 300), recording: true)
    let volume = try Volume.mountForTest(device) { $0.spaceCache = variant.record }
    let bytes = [UInt8](repeating: 5, count: 300_000)
    let kept = try volume.makeFile("/kept")
    try volume.writeBytes(kept, at: 0, bytes)
    try volume.synchronizeAll()
    let start = device.recorded.count
    var chunks: Set<LogicalAddress> = []
    for round in 0..<3 {
      for number in 0..<3 { try Self.fill(volume, "/r\(round)-\(number)", megabytes: 30) }
      let id = try volume.makeFile("/data\(round)")
      for part in 0..<4 {
        try volume.writeBytes(
          id, at: UInt64(part) << 20, [UInt8](repeating: UInt8(round), count: 1 << 20))
      }
      try volume.synchronizeAll()
      chunks.formUnion(volume.space.groups.all.map(\.start))
      for number in 0..<3 { try volume.remove("/r\(round)-\(number)") }
      try volume.remove("/data\(round)")
      try volume.synchronizeAll()
      while try volume.remover.removeEmpty() { try volume.synchronizeAll() }
      try volume.writeBytes(kept, at: 0, bytes)
      try volume.synchronizeAll()
    }
    #expect(volume.brokenInvariants() == [])
    // Chunks have gone, and others have come in their places.
    #expect(chunks.count > volume.space.groups.all.count + 2)
    try volume.unmount()

    let recorded = device.recorded
    var cuts = 0
    for cut in stride(from: recorded.count, to: start, by: -max(1, (recorded.count - start) / 40)) {
      let density = random.below(101)
      let image = try device.image(
        after: cut, of: recorded, density: density, random: &random)
      try CacheJudge.check(image)
      let left = image.copy()
      let again = try Volume.mountForTest(image)
      if TestSeed.isThorough || cuts % 30 == 17 {
        try LinuxJudge.judge(left, [again.stateLines()], "cut \(cut)")
      }
      cuts += 1
      let file = try again.find("/kept")
      #expect(try again.readBytes(file, at: 0, count: bytes.count) == bytes, "cut \(cut)")
      try Self.fill(again, "/after", megabytes: 20)
      try again.unmount()
      try CacheJudge.check(image)
    }
  }

  /// Leaves no block in memory that is on the device, but for a few.
  private static func dropBlocks(_ volume: Volume) {
    let clean = volume.memory.cleanBlocks
    clean.charge(1 << 40)
    for _ in 0..<3 { volume.trees.context.cache.trim() }
    clean.giveBack(1 << 40)
  }

  /// Whichever read fails once while chunks are looked for and removed, the volume goes on and commits,
  /// and the image is right.
  @Test(arguments: variants.prefix(2)) func everyReadMayFail(variant: Variant) throws {
    let image = try TestImage.make(sizeBytes: 300 << 20) { options in
      options.nodeSize = 4096
      // A second copy would make up for all.
      options.metadata = .single
      options.spaceRecord = variant.record == .v2 ? .v2 : .v1
    }
    let volume = try Self.mount(image, variant)
    try Self.fill(volume, "/large", megabytes: 90)
    for number in 0..<900 {
      let id = try volume.makeFile("/file\(number)")
      try volume.writeBytes(id, at: 0, [UInt8](repeating: 1, count: 5000))
    }
    try volume.fragment("/fragments", holes: 500)
    try volume.synchronizeAll()
    try volume.remove("/large")
    try volume.unmount()

    var removed = 0
    var number = 0
    while true {
      let device = try SimulatedDevice(image.copy())
      let volume = try Volume.mountForTest(device) { $0.spaceCache = variant.record }
      let before = Self.chunks(volume, .data)
      Self.dropBlocks(volume)
      device.fail(SimulatedDevice.Fault([.read], after: number, times: 1))
      for _ in 0..<5 {
        try? volume.remover.removeIdle()
        try? volume.synchronizeAll()
        Self.dropBlocks(volume)
      }
      let hasFailed = device.failures > 0
      device.heal()
      #expect(volume.transactions.failure == nil, "read \(number)")
      guard volume.transactions.failure == nil else { break }
      #expect(volume.brokenInvariants() == [], "read \(number)")
      if Self.chunks(volume, .data) < before { removed += 1 }
      try volume.makeFile("/after")
      try volume.synchronizeAll()
      try volume.unmount()
      try CacheJudge.check(device.memory)
      guard hasFailed, number < 60 else { break }
      number += 1
    }
    #expect(number > 0, "no read was there to fail")
    #expect(removed > 0, "\(removed) of \(number)")
  }
}

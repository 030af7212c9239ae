import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// Populated images, and balances that are waited for.
struct BalanceVariant: Sendable, CustomTestStringConvertible {
  let name: String
  var record = VolumeOptions.SpaceCache.v1
  var configure: @Sendable (inout MakeFilesystem.Options) -> Void = { _ in }
  var testDescription: String { name }

  static let all = [
    BalanceVariant(name: "v1"),
    BalanceVariant(name: "v2", record: .v2),
    BalanceVariant(name: "none", record: .none),
    BalanceVariant(name: "block group tree", record: .v2) { $0.hasBlockGroupTree = true },
    BalanceVariant(name: "DUP data") { $0.data = .dup },
    BalanceVariant(name: "single metadata, 4 KiB") {
      $0.metadata = .single
      $0.nodeSize = 4096
    },
    BalanceVariant(name: "mixed") { $0.isMixed = true },
    BalanceVariant(name: "mixed v2", record: .v2) { $0.isMixed = true },
  ]

  func makeImage(megabytes: UInt64) throws -> MemoryDevice {
    try TestImage.make(sizeBytes: megabytes << 20) { options in
      options.spaceRecord = record == .v2 ? .v2 : .v1
      configure(&options)
    }
  }

  func mount(_ device: any BlockDevice) throws -> Volume {
    try Volume.mountForTest(device) { $0.spaceCache = record }
  }
}

extension Volume {
  /// Waits until the balance has ended, or was paused, and expects it to have gone well.
  func finishBalance(
    _ expected: BalanceStatus.Outcome? = .completed, seconds: Double = 120
  ) throws {
    guard balance.wait(seconds: seconds) else { throw TestFailure("the balance does not end") }
    #expect(balance.status.outcome == expected)
  }

  func balanceAll(data: String? = "", metadata: String? = "") throws {
    var plan = BalancePlan()
    plan.data = try data.map { try BalanceFilter(text: $0) }
    plan.metadata = try metadata.map { try BalanceFilter(text: $0) }
    try balance.start(plan)
    try finishBalance()
  }

  /// Files of all kinds: small, large, with holes, preallocated, with other names, overwritten.
  func populate(_ random: inout SeededRandom, files: Int = 200) throws {
    try makeDirectory("/d")
    for number in 0..<files {
      let id = try makeFile("/d/small\(number)")
      let count = 1 + random.below(number % 10 == 0 ? 60_000 : 9000)
      try writeBytes(id, at: 0, random.bytes(count))
    }
    for number in 0..<3 {
      let id = try makeFile("/large\(number)")
      for part in 0..<8 {
        try writeBytes(id, at: UInt64(part) << 19, random.bytes(1 << 19))
      }
      try synchronizeAll()
      // Parts of extents are left over.
      for _ in 0..<10 {
        try writeBytes(id, at: UInt64(random.below(4_000_000)), random.bytes(5000))
      }
    }
    let sparse = try makeFile("/sparse")
    for number in 0..<20 {
      try writeBytes(sparse, at: UInt64(number) * 300_000, random.bytes(7000))
    }
    let reserved = try makeFile("/preallocated")
    try content.allocate(reserved, .plain, offset: 0, length: 3 << 20)
    try synchronizeAll()
    try writeBytes(reserved, at: 1 << 20, random.bytes(200_000))
    let nocow = try makeFile("/nocow")
    try addFlags(nocow, [.noDataCow, .noDataSum])
    try writeBytes(nocow, at: 0, random.bytes(400_000))
    try synchronizeAll()
    for number in stride(from: 0, to: files, by: 5) { try remove("/d/small\(number)") }
    try synchronizeAll()
  }

  /// The addresses of all extents.
  func extentAddresses() throws -> Set<LogicalAddress> {
    Set(try references.extents(from: 0, to: LogicalAddress(.max), atMost: .max).map(\.address))
  }
}

extension SimulatedDevice {
  /// Cuts the power at about `parts` moments since `start` events were recorded. Each image is sound,
  /// before and after a mount that goes on with what it finds, and holds the same; of some Linux says
  /// so, too. Returns how many have a balance that goes on.
  func judgePowerCuts(
    from start: Int, parts: Int, lines: [String], _ random: inout SeededRandom,
    mount: (MemoryDevice) throws -> Volume
  ) throws -> Int {
    let recorded = self.recorded
    var (cuts, resumed) = (0, 0)
    for cut in stride(
      from: recorded.count, to: start, by: -max(1, (recorded.count - start) / parts)
    ).reversed() {
      let image = try self.image(
        after: cut, of: recorded, density: random.below(101), random: &random)
      if TestSeed.isThorough || cuts % 10 == 5 {
        try LinuxJudge.judge(image, [lines], "cut \(cut)")
      } else {
        try CacheJudge.check(image)
      }
      cuts += 1
      let again = try mount(image)
      if again.balance.status.plan != nil {
        resumed += 1
        try again.finishBalance()
      }
      #expect(try again.stateLines() == lines, "cut \(cut)")
      #expect(try !again.trees.root.contains(BalanceItem.key))
      try again.unmount()
      try CacheJudge.check(image)
    }
    return resumed
  }
}

extension SeededRandom {
  mutating func bytes(_ count: Int) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: count) { bytes, initialized in
      fillNonZero(UnsafeMutableRawBufferPointer(bytes))
      initialized = count
    }
  }
}

import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// The device becomes longer and shorter.
@Suite(.timeLimit(.minutes(10))) struct ResizeTests {
  @Test(arguments: BalanceVariant.all) func growsAndShrinks(variant: BalanceVariant) throws {
    var random = SeededRandom(testSeed: 51)
    let device = try variant.makeImage(megabytes: 512)
    let volume = try variant.mount(device)
    try volume.populate(&random, files: 60)
    let lines = try volume.stateLines()
    func check(_ megabytes: UInt64) throws {
      #expect(volume.sizeBytes == megabytes << 20)
      #expect(device.sizeBytes == megabytes << 20)
      #expect(try volume.stateLines() == lines)
      try volume.synchronizeAll()
      #expect(volume.brokenInvariants() == [])
      #expect(
        try volume.statistics().blocks * 4096 * (variant.name == "DUP data" ? 2 : 1)
          == megabytes << 20)
      try CacheJudge.check(device.copy())
    }
    try volume.resize(to: 1 << 30)
    try check(1024)
    // What was added can be used.
    let id = try volume.makeFile("/more")
    let copies: UInt64 = variant.name == "DUP data" ? 2 : 1
    try volume.content.allocate(id, .plain, offset: 0, length: (600 << 20) / copies)
    try volume.synchronizeAll()
    // 600 MiB do not fit in 300: half of them are missing, and room for all else.
    let missing = try #require(Self.missing { try volume.resize(to: 300 << 20) })
    #expect(missing > 280 << 20 && missing < 520 << 20, "\(missing)")
    try volume.remove("/more")
    try volume.synchronizeAll()
    if variant.name == "v1" { try bufferedDataCount(volume) }
    for megabytes: UInt64 in [700, 400, 260] {
      try volume.resize(to: megabytes << 20)
      try check(megabytes)
    }
    #expect(throws: FilesystemError.self) { try volume.resize(to: 255 << 20) }
    try volume.resize(to: 300 << 20)
    try check(300)
    try volume.unmount()
    try CacheJudge.check(device)
    let again = try variant.mount(device)
    #expect(try again.stateLines() == lines)
    try again.unmount()
  }

  /// How many bytes a size is too small by, as the refusal says; nil when there is none.
  private static func missing(_ body: () throws -> Void) throws -> UInt64? {
    do {
      try body()
      return nil
    } catch FilesystemError.invalidArgument(let why) {
      let words = why.split(separator: " ")
      guard let place = words.firstIndex(of: "least"), place + 1 < words.count else { return nil }
      return UInt64(words[place + 1])
    }
  }

  /// What is buffered only counts as well.
  private func bufferedDataCount(_ volume: Volume) throws {
    let buffered = try volume.makeFile("/buffered")
    let bytes = [UInt8](repeating: 1, count: 1 << 20)
    for part in 0..<380 { try volume.writeBytes(buffered, at: UInt64(part) << 20, bytes) }
    let missing = try #require(Self.missing { try volume.resize(to: 300 << 20) })
    #expect(missing > 60 << 20 && missing < 320 << 20, "\(missing)")
    try volume.remove("/buffered")
    try volume.synchronizeAll()
  }

  /// Wherever the power is cut while the end is cleared, the image is right.
  @Test(arguments: [0, 1]) func powerCuts(number: Int) throws {
    let variant = BalanceVariant.all[number]
    print("power cuts while a device becomes shorter, \(variant.name), seed 52")
    var random = SeededRandom(testSeed: 52)
    let memory = try variant.makeImage(megabytes: 512)
    do {
      let volume = try variant.mount(memory)
      try volume.content.allocate(
        try volume.makeFile("/first"), .plain, offset: 0, length: 200 << 20)
      try volume.populate(&random, files: 40)
      try volume.remove("/first")
      try volume.unmount()
    }
    let device = try SimulatedDevice(memory, recording: true)
    let volume = try variant.mount(device)
    let lines = try volume.stateLines()
    try volume.synchronizeAll()
    let start = device.recorded.count
    try volume.resize(to: 270 << 20)
    try volume.resize(to: 280 << 20)
    try volume.unmount()
    _ = try device.judgePowerCuts(from: start, parts: 12, lines: lines, &random) {
      try variant.mount($0)
    }
  }
}

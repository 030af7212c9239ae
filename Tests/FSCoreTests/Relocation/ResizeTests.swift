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
    #expect {
      try volume.resize(to: 300 << 20)
    } throws: {
      guard case FilesystemError.invalidArgument(let why) = $0 else { return false }
      return why.contains("bytes of what is used would not fit")
    }
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

  /// What is buffered only counts as well.
  private func bufferedDataCount(_ volume: Volume) throws {
    let buffered = try volume.makeFile("/buffered")
    let bytes = [UInt8](repeating: 1, count: 1 << 20)
    for part in 0..<380 { try volume.writeBytes(buffered, at: UInt64(part) << 20, bytes) }
    #expect {
      try volume.resize(to: 300 << 20)
    } throws: {
      guard case FilesystemError.invalidArgument(let why) = $0 else { return false }
      return why.contains("bytes of what")
    }
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

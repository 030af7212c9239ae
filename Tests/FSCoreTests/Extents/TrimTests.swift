import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// Free space is given back to what the image stands on, and nothing else is.
@Suite(.timeLimit(.minutes(3))) struct TrimTests {
  private static let record = [VolumeOptions.SpaceCache.v1, .v2]

  private static func pieces(_ device: MemoryDevice) -> Int {
    var count = 0
    device.forEachPiece { _, _ in count += 1 }
    return count
  }

  @Test(arguments: record, [false, true])
  func freeSpaceGoes(record: VolumeOptions.SpaceCache, isDup: Bool) throws {
    let device = try TestImage.make(sizeBytes: 1 << 30) { options in
      if isDup { options.data = .dup }
    }
    let volume = try Volume.mountForTest(device) { $0.spaceCache = record }
    let bytes = [UInt8](repeating: 9, count: 1 << 20)
    let kept = try volume.makeFile("/kept")
    let gone = try volume.makeFile("/gone")
    for part in 0..<24 {
      try volume.writeBytes(gone, at: UInt64(part) << 20, bytes)
      if part % 6 == 0 { try volume.writeBytes(kept, at: UInt64(part) << 20, bytes) }
    }
    try volume.synchronizeAll()
    let before = Self.pieces(device)
    try volume.remove("/gone")
    let trimmed = try volume.trim()
    #expect(trimmed > 24 << 20)
    #expect(Self.pieces(device) + 24 * 16 * (isDup ? 2 : 1) * 9 / 10 < before)
    #expect(volume.brokenInvariants() == [])
    #expect(try volume.readBytes(kept, at: 18 << 20, count: bytes.count) == bytes)

    // What is free can be used as before, also while it is trimmed.
    for round in 0..<3 {
      let id = try volume.makeFile("/again\(round)")
      for part in 0..<8 { try volume.writeBytes(id, at: UInt64(part) << 20, bytes) }
      try volume.synchronizeAll()
      _ = try volume.trim(minimum: 1 << 20)
    }
    try volume.unmount()
    try CacheJudge.check(device)
    try CacheJudge.judge(device.copy())
  }

  /// What the last commit still needs is not discarded, though the running transaction has freed it.
  @Test func nothingOfTheLastCommitGoes() throws {
    let device = try SimulatedDevice(try TestImage.make(sizeBytes: 512 << 20), recording: true)
    let volume = try Volume.mountForTest(device)
    let bytes = [UInt8](repeating: 3, count: 3 << 20)
    let id = try volume.makeFile("/file")
    try volume.writeBytes(id, at: 0, bytes)
    try volume.synchronizeAll()
    try volume.remove("/file")
    _ = try SpaceTrimmer(
      space: volume.space, device: volume.device, transactions: volume.transactions
    ).trim(0..<UInt64.max, minimum: 0)
    var random = SeededRandom(testSeed: 1)
    let recorded = device.recorded
    let image = try device.image(
      after: recorded.count, of: recorded, density: 100, random: &random)
    try volume.unmount()

    try CacheJudge.check(image)
    let again = try Volume.mountForTest(image)
    #expect(try again.readBytes(again.find("/file"), at: 0, count: bytes.count) == bytes)
    try again.unmount()
  }

  /// Mounted with `discard`: what is deleted goes with the commit that deletes it, and not before; an
  /// image at any moment of that has the file, whole, or has it not.
  @Test(arguments: record) func whatIsFreedGoesWithItsCommit(
    record: VolumeOptions.SpaceCache
  ) throws {
    let memory = try TestImage.make(sizeBytes: 512 << 20)
    let prepared = try Volume.mountForTest(memory) { $0.spaceCache = record }
    let bytes = [UInt8](repeating: 3, count: 3 << 20)
    let kept = try prepared.makeFile("/kept")
    try prepared.writeBytes(kept, at: 0, [UInt8](repeating: 5, count: 1 << 20))
    let id = try prepared.makeFile("/file")
    try prepared.writeBytes(id, at: 0, bytes)
    try prepared.unmount()

    let device = try SimulatedDevice(memory, recording: true)
    let volume = try Volume.mountForTest(device) { $0.discards = true }
    let before = Self.pieces(memory)
    try volume.remove("/file")
    #expect(Self.pieces(memory) == before)
    try volume.synchronizeAll()
    #expect(Self.pieces(memory) + 3 * 16 * 9 / 10 < before)
    let recorded = device.recorded
    try volume.unmount()

    var random = SeededRandom(testSeed: 4)
    var found: Set<Bool> = []
    for count in 0...recorded.count {
      for density in [0, 60, 100] {
        let image = try device.image(
          after: count, of: recorded, density: density, random: &random)
        let again = try Volume.mountForTest(image) { $0.readOnly = true }
        let file = try? again.find("/file")
        if let file {
          #expect(try again.readBytes(file, at: 0, count: bytes.count) == bytes, "at \(count)")
        }
        #expect(try again.readBytes(again.find("/kept"), at: 4096, count: 1) == [5])
        found.insert(file != nil)
        if count == recorded.count / 2, density == 60 {
          try LinuxJudge.judge(image, [again.stateLines()], "cut after event \(count)")
        }
        try again.unmount()
      }
    }
    #expect(found == [true, false])
    try CacheJudge.judge(memory, "discarded")
  }

  /// A device that cannot discard is asked once, and the mount goes on.
  @Test func aDeviceThatCannotDiscardIsAskedOnce() throws {
    let device = try SimulatedDevice(try TestImage.make(sizeBytes: 512 << 20))
    let volume = try Volume.mountForTest(device) { $0.discards = true }
    for round in 0..<3 {
      let id = try volume.makeFile("/file\(round)")
      try volume.writeBytes(id, at: 0, [UInt8](repeating: 3, count: 1 << 20))
      try volume.synchronizeAll()
      try volume.remove("/file\(round)")
      device.failDiscards = round == 0
      let discards = device.discards
      try volume.synchronizeAll()
      #expect(volume.transactions.failure == nil)
      #expect(device.discards == discards + (round == 0 ? 1 : 0))
    }
    try volume.unmount()
    try CacheJudge.check(device.memory)
  }

  /// Where no chunk is, copies of the superblock stand all the same.
  @Test func superblocksStay() throws {
    let device = try TestImage.make(sizeBytes: 1 << 30) { $0.metadata = .single }
    let volume = try Volume.mountForTest(device)
    #expect(
      !volume.space.groups.all.contains { $0.superblockRanges.contains { $0.length > 0 } })
    _ = try volume.trim()
    for offset in Superblock.offsets(deviceSize: device.sizeBytes) {
      let buffer = AlignedBuffer(count: Superblock.size)
      try device.read(into: buffer.bytes, at: offset)
      #expect(buffer.readable.contains { $0 != 0 }, "\(offset)")
      withExtendedLifetime(buffer) {}
    }
    try volume.unmount()
  }

  @Test func partsBetweenSuperblocks() {
    let copy: UInt64 = 64 << 20
    #expect(SpaceTrimmer.withoutSuperblocks(copy + 65536..<copy * 2) == [copy + 65536..<copy * 2])
    #expect(
      SpaceTrimmer.withoutSuperblocks(copy - 65536..<copy * 2)
        == [copy - 65536..<copy, copy + 65536..<copy * 2])
    #expect(SpaceTrimmer.withoutSuperblocks(copy..<copy + 65536) == [])
  }

  /// A discard that fails costs the trim alone, wherever it is; nothing stays taken.
  @Test func failuresCostTheTrimAlone() throws {
    let device = try SimulatedDevice(try TestImage.make(sizeBytes: 512 << 20))
    let volume = try Volume.mountForTest(device)
    let id = try volume.makeFile("/file")
    try volume.writeBytes(id, at: 0, [UInt8](repeating: 4, count: 100_000))
    try volume.synchronizeAll()
    for after in 0..<6 {
      device.fail(SimulatedDevice.Fault([.write], after: after, times: 1))
      #expect(throws: FilesystemError.self) { try volume.trim() }
      device.heal()
      #expect(volume.transactions.failure == nil)
      #expect(volume.brokenInvariants() == [])
    }
    #expect(try volume.trim() > 0)
    try volume.writeBytes(id, at: 0, [UInt8](repeating: 4, count: 200_000))
    try volume.unmount()
    try CacheJudge.check(device.memory)
  }

  @Test func readOnlyVolumesStay() throws {
    let device = try TestImage.make()
    let volume = try Volume.mountForTest(device) { $0.readOnly = true }
    #expect(throws: FilesystemError.self) { try volume.trim() }
    try volume.unmount()
  }
}

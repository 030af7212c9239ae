import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// Balances of images that we have made.
@Suite(.timeLimit(.minutes(10))) struct BalanceTests {
  /// Every extent but those of the system moves, and nothing else changes.
  @Test(arguments: BalanceVariant.all) func everythingMoves(variant: BalanceVariant) throws {
    var random = SeededRandom(testSeed: 41)
    let device = try variant.makeImage(megabytes: 512)
    let volume = try variant.mount(device)
    try volume.populate(&random)
    let lines = try volume.stateLines()
    let before = Set(volume.space.groups.all.filter { !$0.flags.contains(.system) }.map(\.start))
    let used = volume.space.groups.all.reduce(0) { $0 + $1.used }

    try volume.balanceAll()
    let status = volume.balance.status
    #expect(status.done == status.expected && status.done >= 1)
    #expect(status.bytesMoved > 0 && status.bytesMoved <= status.bytesExpected)
    #expect(status.progress == 1)
    let after = Set(volume.space.groups.all.map(\.start))
    #expect(before.isDisjoint(with: after), "\(before) \(after)")
    #expect(try volume.stateLines() == lines)
    try volume.synchronizeAll()
    #expect(volume.brokenInvariants() == [])
    let nowUsed = volume.space.groups.all.reduce(0) { $0 + $1.used }
    #expect(nowUsed <= used + used / 8 + (1 << 20))
    #expect(try !volume.trees.root.contains(BalanceItem.key))
    try CacheJudge.check(device.copy())

    // The volume goes on as ever, and once more.
    try volume.writeBytes(try volume.find("/nocow"), at: 1000, random.bytes(100_000))
    try volume.writeBytes(try volume.find("/preallocated"), at: 0, random.bytes(100_000))
    try volume.synchronizeAll()
    let changed = try volume.stateLines()
    try volume.balanceAll()
    try volume.unmount()
    try CacheJudge.check(device)
    let again = try variant.mount(device)
    #expect(try again.stateLines() == changed)
    try again.unmount()
  }

  /// Groups that are nearly empty become one.
  /// Of preallocated space that was written to and punched, what is left are preallocated items, and
  /// checksums for bytes that nobody has any more. They have to agree after the move, too.
  @Test func punchedPreallocatedSpaceMoves() throws {
    let device = try TestImage.make()
    let volume = try Volume.mountForTest(device)
    let id = try volume.makeFile("/file")
    try volume.content.allocate(id, .plain, offset: 0, length: 1 << 20)
    try volume.writeBytes(id, at: 40960, [UInt8](repeating: 3, count: 20480))
    try volume.synchronizeAll()
    try volume.content.allocate(id, .punchHole, offset: 40960, length: 20480)
    try volume.balanceAll()
    #expect(
      try volume.readBytes(id, at: 0, count: 1 << 20) == [UInt8](repeating: 0, count: 1 << 20))
    try volume.unmount()
    try CacheJudge.check(device)
  }

  @Test func usageFilterGathers() throws {
    let variant = BalanceVariant.all[0]
    let device = try variant.makeImage(megabytes: 1024)
    let volume = try variant.mount(device)
    for number in 0..<9 {
      let id = try volume.makeFile("/f\(number)")
      try volume.content.allocate(id, .plain, offset: 0, length: 60 << 20)
      let small = try volume.makeFile("/small\(number)")
      try volume.writeBytes(small, at: 0, [UInt8](repeating: UInt8(number), count: 500_000))
      try volume.synchronizeAll()
    }
    for number in 0..<9 where number % 4 != 0 { try volume.remove("/f\(number)") }
    try volume.synchronizeAll()
    let lines = try volume.stateLines()
    let unallocated = volume.space.chunks.allocator.unallocated
    try volume.balanceAll(data: "usage=60", metadata: nil)
    #expect(volume.balance.status.done > 0)
    #expect(volume.space.chunks.allocator.unallocated > unallocated)
    #expect(try volume.stateLines() == lines)
    try volume.synchronizeAll()
    #expect(volume.brokenInvariants() == [])
    try volume.unmount()
    try CacheJudge.check(device)
  }

  @Test func refusesWhatMakesNoSense() throws {
    let device = try BalanceVariant.all[0].makeImage(megabytes: 256)
    let volume = try BalanceVariant.all[0].mount(device)
    #expect(throws: FilesystemError.self) { try volume.balance.start(BalancePlan()) }
    #expect(throws: FilesystemError.notFound) { try volume.balance.pause() }
    #expect(throws: FilesystemError.notFound) { try volume.balance.cancel() }
    #expect(throws: FilesystemError.notFound) { try volume.balance.resume() }
    try volume.balanceAll(data: "usage=0", metadata: "usage=0")
    try volume.unmount()
    let readOnly = try Volume.mountForTest(device) { $0.readOnly = true }
    #expect {
      try readOnly.balance.start(.all)
    } throws: {
      guard case FilesystemError.readOnly = $0 else { return false }
      return true
    }
    try readOnly.unmount()
  }

  /// Paused, taken up by the next mount, and cancelled.
  @Test func pausesResumesAndCancels() throws {
    var random = SeededRandom(testSeed: 42)
    let variant = BalanceVariant.all[1]
    let memory = try variant.makeImage(megabytes: 512)
    let device = try SimulatedDevice(memory)
    let volume = try variant.mount(device)
    try volume.populate(&random)
    let lines = try volume.stateLines()
    device.delay(.write, microseconds: 1000)
    try volume.balance.start(.all)
    #expect {
      try volume.balance.start(.all)
    } throws: {
      guard case FilesystemError.busy(let why) = $0 else { return false }
      return why.contains("running")
    }
    try volume.balance.pause()
    #expect(volume.balance.status.phase == .paused)
    #expect {
      try volume.balance.start(.all)
    } throws: {
      guard case FilesystemError.busy(let why) = $0 else { return false }
      return why.contains("paused")
    }
    #expect(try volume.stateLines() == lines)
    try volume.synchronizeAll()
    try volume.synchronizeAll()
    #expect(volume.brokenInvariants() == [])
    device.delay(.write, microseconds: 0)
    try volume.unmount()
    try CacheJudge.check(memory.copy())

    // The next mount goes on with it, unless it is told not to.
    let skipping = try Volume.mountForTest(memory) {
      $0.spaceCache = variant.record
      $0.skipBalance = true
    }
    #expect(skipping.balance.status.phase == .paused)
    #expect(skipping.balance.status.plan?.data != nil)
    try skipping.unmount()
    let resuming = try variant.mount(memory)
    try resuming.finishBalance()
    #expect(try resuming.stateLines() == lines)
    try resuming.balance.start(.all)
    try? resuming.balance.pause()
    if resuming.balance.status.phase == .paused { try resuming.balance.cancel() }
    #expect(try !resuming.trees.root.contains(BalanceItem.key))
    #expect(try resuming.stateLines() == lines)
    try resuming.unmount()
    try CacheJudge.check(memory)
  }
}

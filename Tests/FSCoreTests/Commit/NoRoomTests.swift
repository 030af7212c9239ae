import Glibc
import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// What the image stands on has no room for a write of a commit. The transaction is held back, the
/// volume goes on, and the transaction is written when there is room again.
@Suite(.timeLimit(.minutes(10))) struct NoRoomTests {
  private static let codes = [ENOSPC, EDQUOT, EFBIG]

  /// All writes from the one with this number on find no room.
  private static func shortage(
    after number: Int = 0, in ranges: [Range<UInt64>]? = nil
  ) -> SimulatedDevice.Fault {
    var fault = SimulatedDevice.Fault([.write], in: ranges, after: number)
    fault.code = codes[number % codes.count]
    fault.sparesDiscards = true
    return fault
  }

  /// What no data group has: there stand tree blocks and superblocks.
  private static func placesOfTrees(_ volume: Volume) throws -> [Range<UInt64>] {
    var places: [Range<UInt64>] = []
    var position: UInt64 = 0
    let groups = try volume.space.groups.data.groups.map { group in
      let start = try volume.device.locate(group.start, length: 4096, copy: 0).offset.rawValue
      return start..<(start + group.length)
    }
    for group in groups.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if group.lowerBound > position { places.append(position..<group.lowerBound) }
      position = group.upperBound
    }
    return places + [position..<UInt64.max]
  }

  private static func makeBase(_ record: MakeFilesystem.SpaceRecord) throws -> MemoryDevice {
    let device = try TestImage.make(sizeBytes: 4 << 30) { options in
      options.nodeSize = 4096
      options.spaceRecord = record
    }
    let volume = try Volume.mountForTest(device)
    for number in 0..<40 {
      let id = try volume.makeFile("/f\(number)")
      let count = number % 3 == 0 ? 90_000 : 700
      try volume.writeBytes(id, at: 0, [UInt8](repeating: UInt8(number), count: count))
    }
    try volume.unmount()
    return device
  }

  private static func change(_ volume: Volume) throws {
    for number in stride(from: 0, to: 40, by: 4) { try volume.remove("/f\(number)") }
    for number in 0..<8 {
      let id = try volume.makeFile("/new\(number)")
      try volume.writeBytes(id, at: 0, [UInt8](repeating: 9, count: 20_000))
    }
    volume.files.flushAll()
  }

  /// Mounts what a power cut would leave, and returns its state.
  private static func state(of image: MemoryDevice, _ what: Comment) throws -> [String] {
    let volume = try Volume.mountForTest(image)
    let lines = try volume.stateLines()
    try volume.makeFile("/after the cut")
    try volume.synchronizeAll()
    volume.expectInvariants(what)
    try volume.unmount()
    return lines
  }

  @Test(arguments: MakeFilesystem.SpaceRecord.allCases)
  func anyWriteOfACommitMayFindNoRoom(record: MakeFilesystem.SpaceRecord) throws {
    var random = SeededRandom(testSeed: 21)
    let base = try Self.makeBase(record)
    // All of them by hand, in CI some and the last, which are superblocks.
    let total = try Self.countWrites(base)
    var (shortages, cuts, judged) = (0, 0, 0)
    let numbers = TestSeed.sample(Array(0..<total), 10) + [total - 2, total - 1, total]
    for number in numbers {
      let device = try SimulatedDevice(base.copy(), recording: true)
      let volume = try Volume.mountForTest(device)
      let old = try volume.stateLines()
      try Self.change(volume)
      let new = try volume.stateLines()
      let first = device.recorded.count

      device.fail(Self.shortage(after: number))
      let code = errorNumber { try volume.synchronizeAll() }
      let isShort = device.failures > 0
      if isShort { shortages += 1 }
      #expect(code == (isShort ? ENOSPC : 0), "write \(number)")
      #expect(volume.transactions.failure == nil, "write \(number)")
      #expect((volume.transactions.heldBack != nil) == isShort, "write \(number)")
      let heldBack = device.recorded.count
      // With and without a transaction behind the one that is held back.
      if isShort, number % 2 == 0 {
        try volume.makeFile("/meanwhile")
        #expect(errorNumber { try volume.commit() } == ENOSPC, "write \(number)")
      }
      let newest = try volume.stateLines()
      device.heal()
      try volume.synchronizeAll()
      #expect(volume.transactions.heldBack == nil, "write \(number)")
      #expect(!volume.transactions.isDirty, "write \(number)")
      #expect(volume.brokenInvariants() == [], "write \(number)")
      try volume.unmount()

      let recorded = device.recorded
      let flushes = recorded.indices.filter { $0 >= first && recorded[$0].isFlush }
      let densities = [0, 50, 100]
      let others = (flushes + flushes.map { $0 + 1 }).flatMap { cut in densities.map { (cut, $0) } }
      for (cut, density) in densities.map({ (heldBack, $0) }) + TestSeed.sample(others, 2) {
        let what: Comment = "write \(number), cut after event \(cut) at density \(density)"
        let image = try device.image(after: cut, of: recorded, density: density, random: &random)
        let states = cut <= heldBack ? [old, new] : [old, new, newest]
        if TestSeed.isThorough || cuts % 20 == 1 {
          try LinuxJudge.judge(image, states, what)
          judged += 1
        }
        cuts += 1
        #expect(states.contains(try Self.state(of: image, what)), what)
      }
      if number % 8 == 3 { try CacheJudge.check(device.memory.copy()) }
      #expect(try Self.state(of: device.memory, "write \(number)") == newest)
      switch record {
      case .v1:
        // A cache that found no room costs nothing but itself.
        let groups = Set(volume.space.groups.all.map(\.start))
        try CacheJudge.judge(device.memory, without: groups, "write \(number)")
      case .v2: try FreeSpaceTreeJudge.judge(device.memory, "write \(number)")
      }
    }
    print("  \(record): \(total) writes of a commit")
    #expect(total > 5 && shortages >= numbers.count - 3 && judged > 2)
  }

  /// How many writes the commit of `change` makes.
  private static func countWrites(_ base: MemoryDevice) throws -> Int {
    let device = try SimulatedDevice(base.copy())
    let volume = try Volume.mountForTest(device)
    try change(volume)
    let before = device.count(.write)
    try volume.synchronizeAll()
    let count = device.count(.write) - before
    try volume.unmount()
    return count
  }

  /// Data are written meanwhile, and space is trimmed: all that the last commit has stays as it is,
  /// whatever has been deleted since.
  @Test func nothingThatTheLastCommitNeedsIsOverwritten() throws {
    var random = SeededRandom(testSeed: 22)
    let device = try SimulatedDevice(try TestImage.make(), recording: true)
    let volume = try Volume.mountForTest(device)
    func write(_ name: String, _ byte: UInt8) throws {
      let id = try volume.makeFile(name)
      try volume.writeBytes(id, at: 0, [UInt8](repeating: byte, count: 256 << 10))
    }
    // Chunks for all that follows.
    try volume.content.allocate(
      volume.makeFile("/large"), .plain, offset: 0, length: 64 << 20)
    try volume.synchronizeAll()
    try volume.remove("/large")
    for number in 0..<24 { try write("/old\(number)", UInt8(number)) }
    try volume.synchronizeAll()
    let old = try volume.stateLines()
    let places = try Self.placesOfTrees(volume)

    for number in 0..<16 { try volume.remove("/old\(number)") }
    device.fail(Self.shortage(in: places))
    #expect(errorNumber { try volume.synchronizeAll() } == ENOSPC)
    for round in 0..<3 {
      for number in 0..<6 { try write("/new\(round)-\(number)", UInt8(100 + number)) }
      volume.files.flushAll()
      if round > 0 { try volume.remove("/new\(round - 1)-1") }
      // The trees of what was made meanwhile find room no sooner.
      #expect(errorNumber { try volume.commit() } == ENOSPC)
      if round == 2 { #expect(try volume.trim() > 0) }
      let recorded = device.recorded
      for density in [0, 50, 100] {
        let image = try device.image(
          after: recorded.count, of: recorded, density: density, random: &random)
        #expect(try Self.state(of: image, "round \(round)") == old, "round \(round)")
      }
    }
    try volume.files.reportLostData()
    let new = try volume.stateLines()
    device.heal()
    try volume.synchronizeAll()
    #expect(volume.brokenInvariants() == [])
    try volume.unmount()
    try CacheJudge.check(device.memory)
    #expect(try Self.state(of: device.memory, "at the end") == new)
  }

  /// While it is known that there is no room no buffered data are risked.
  @Test func bufferedDataStay() throws {
    let device = try SimulatedDevice(try TestImage.make())
    let volume = try Volume.mountForTest(device)
    let file = try volume.makeFile("/file")
    try volume.synchronizeAll()
    try volume.makeFile("/other")
    device.fail(Self.shortage())
    #expect(errorNumber { try volume.synchronizeAll() } == ENOSPC)

    let content = [UInt8](repeating: 5, count: 300_000)
    try volume.writeBytes(file, at: 0, content)
    #expect(errorNumber { try volume.content.synchronize(file, dataOnly: false) } == ENOSPC)
    #expect(errorNumber { try volume.synchronizeAll() } == ENOSPC)
    #expect(try volume.readBytes(file, at: 0, count: 1 << 20) == content)
    device.heal()
    try volume.content.synchronize(file, dataOnly: false)
    let image = device.memory.copy()
    try volume.unmount()

    let again = try Volume.mountForTest(image)
    #expect(try again.readBytes(again.find("/file"), at: 0, count: 1 << 20) == content)
    try again.unmount()
  }

  /// Data that are written while nobody knows of a shortage are lost where they find no room; fsync(2)
  /// says so once, and the rest is there.
  @Test func dataThatFindNoRoomAreReported() throws {
    let old = [UInt8](repeating: 3, count: 500_000)
    let new = [UInt8](repeating: 4, count: 500_000)
    var number = 0
    while true {
      let device = try SimulatedDevice(try TestImage.make())
      let volume = try Volume.mountForTest(device)
      let file = try volume.makeFile("/file")
      try volume.writeBytes(file, at: 0, old)
      try volume.synchronizeAll()
      try volume.writeBytes(file, at: 0, new)
      device.fail(Self.shortage(after: number))
      #expect(errorNumber { try volume.content.synchronize(file, dataOnly: false) } == ENOSPC)
      // The first error may have been that of the commit.
      let isHeldBack = volume.transactions.heldBack != nil
      device.heal()
      let code = errorNumber { try volume.content.synchronize(file, dataOnly: false) }
      let found = try volume.readBytes(file, at: 0, count: 1 << 20)
      #expect(found.count == old.count)
      let isOld = found.contains(3)
      #expect(found.allSatisfy { $0 == 3 || $0 == 4 })
      #expect(code == (isHeldBack && isOld ? ENOSPC : 0))
      #expect(errorNumber { try volume.content.synchronize(file, dataOnly: false) } == 0)
      try? volume.unmount()
      let again = try Volume.mountForTest(device.memory)
      #expect(try again.readBytes(again.find("/file"), at: 0, count: 1 << 20) == found)
      try again.unmount()
      if !isOld { break }
      number += 1
    }
    #expect(number > 0)
  }

  /// What cannot be written takes no more memory than it may: when that is used up changes are refused,
  /// and data that were accepted before are not.
  @Test func changesAreRefusedWhenMemoryIsUsedUp() throws {
    let device = try SimulatedDevice(try TestImage.make(sizeBytes: 4 << 30))
    let volume = try Volume.mountForTest(device) { $0.cacheBytes = 8 << 20 }
    let file = try volume.makeFile("/file")
    try volume.writeBytes(file, at: 0, [UInt8](repeating: 1, count: 1 << 20))
    try volume.synchronizeAll()
    device.fail(Self.shortage(in: try Self.placesOfTrees(volume)))
    try volume.makeDirectory("/d")
    #expect(errorNumber { try volume.synchronizeAll() } == ENOSPC)

    try volume.writeBytes(file, at: 0, [UInt8](repeating: 2, count: 500_000))
    var count = 0
    var code: Int32 = 0
    while code == 0, count < 200_000 {
      code = errorNumber { try volume.makeFile("/d/file with a long name \(count)") }
      if code == 0 { count += 1 }
    }
    #expect(code == ENOSPC && count > 500)
    #expect(errorNumber { try volume.remove("/d/file with a long name 0") } == ENOSPC)
    #expect(errorNumber { try volume.writeBytes(file, at: 2 << 20, [1, 2, 3]) } == ENOSPC)
    let blocks = volume.memory.dirtyBlocks
    #expect(blocks.used <= blocks.limit + (1 << 20))
    #expect(volume.transactions.failure == nil)
    // Data find their way, and reading goes on.
    volume.files.flushAll()
    try volume.files.reportLostData()
    #expect(try volume.readBytes(file, at: 0, count: 2) == [2, 2])

    device.heal()
    try volume.synchronizeAll()
    try volume.remove("/d/file with a long name 0")
    try volume.writeBytes(file, at: 2 << 20, [1, 2, 3])
    try volume.synchronizeAll()
    #expect(blocks.used == 0)
    #expect(volume.brokenInvariants() == [])
    let new = try volume.stateLines()
    try volume.unmount()
    try CacheJudge.check(device.memory)
    #expect(try Self.state(of: device.memory, "at the end") == new)
  }

  /// A thread that waits for memory while a commit is under way does not wait for room. The record is
  /// not v1, as no device is written in the critical section then.
  @Test func noThreadWaitsForRoom() throws {
    let device = try SimulatedDevice(try TestImage.make { $0.spaceRecord = .v2 })
    let volume = try Volume.mountForTest(device)
    try volume.makeFile("/file")
    device.hold(.write)
    let writes = device.count(.write)
    let codes = Guarded<[Int32]>([], rank: .leaf)
    let commit = BackgroundThread {
      let code = errorNumber { try volume.commit() }
      codes.withLock { $0.append(code) }
    }
    expectSoon("the commit writes") { volume.transactions.writing != nil }
    #expect(device.wait(.write, beyond: writes))
    volume.memory.dirtyBlocks.charge(1 << 40)
    let change = BackgroundThread {
      let code = errorNumber { try volume.makeFile("/other") }
      codes.withLock { $0.append(code) }
    }
    // It waits, or has not come that far: both must end in the same way.
    usleep(50_000)
    device.fail(Self.shortage())
    device.letGo(.write)
    commit.join()
    change.join()
    #expect(codes.withLock { $0 } == [ENOSPC, ENOSPC])
    volume.memory.dirtyBlocks.giveBack(1 << 40)
    device.heal()
    try volume.unmount()
  }

  /// Unmounting says that the last changes could not be written, and leaves the last commit.
  @Test(arguments: [false, true]) func unmountingFails(isKnown: Bool) throws {
    let device = try SimulatedDevice(try TestImage.make())
    let volume = try Volume.mountForTest(device)
    try volume.makeFile("/old")
    try volume.synchronizeAll()
    let old = try volume.stateLines()
    try volume.writeBytes(volume.makeFile("/new"), at: 0, [UInt8](repeating: 1, count: 100_000))
    device.fail(Self.shortage())
    if isKnown { #expect(errorNumber { try volume.commit() } == ENOSPC) }
    #expect(errorNumber { try volume.unmount() } == ENOSPC)
    #expect(try Self.state(of: device.memory, "\(isKnown)") == old)
  }

  enum Failure: CaseIterable, Sendable { case flush, laterWrite, laterFlush }

  /// A flush that fails may have lost anything, whatever it says, and so may a device that fails in
  /// other ways: nothing is made up for then.
  @Test(arguments: Failure.allCases) func otherErrorsAbort(failure: Failure) throws {
    let device = try SimulatedDevice(try TestImage.make())
    let volume = try Volume.mountForTest(device)
    try volume.makeFile("/old")
    try volume.synchronizeAll()
    let old = try volume.stateLines()
    try volume.makeFile("/new")
    if failure != .flush {
      device.fail(Self.shortage())
      #expect(errorNumber { try volume.synchronizeAll() } == ENOSPC)
      device.heal()
    }
    var fault = SimulatedDevice.Fault([failure == .laterWrite ? .write : .flush])
    if failure != .laterWrite { fault.code = ENOSPC }
    device.fail(fault)
    #expect(errorNumber { try volume.commit() } == EIO)
    device.heal()
    #expect(throws: FilesystemError.aborted) { try volume.makeFile("/more") }
    #expect(throws: FilesystemError.aborted) { try volume.commit() }
    #expect(throws: FilesystemError.aborted) { try volume.unmount() }
    #expect(try Self.state(of: device.memory, "\(failure)") == old)
  }

  @Test func aShortageIsToldOnceAndOnceWhenItIsOver() throws {
    let lines = Guarded<[String]>([], rank: .leaf)
    let device = try SimulatedDevice(try TestImage.make { $0.spaceRecord = .v2 })
    let volume = try Volume.mountForTest(device, log: lines)
    func counts() -> [Int] {
      ["no room", "there is room again"].map { text in
        lines.withLock { $0.filter { $0.contains(text) }.count }
      }
    }
    for round in 1...2 {
      try volume.makeFile("/file\(round)")
      device.fail(Self.shortage(after: round))
      for _ in 0..<4 { #expect(errorNumber { try volume.synchronizeAll() } == ENOSPC) }
      #expect(counts() == [round, round - 1])
      device.heal()
      for _ in 0..<2 { try volume.synchronizeAll() }
      #expect(counts() == [round, round])
    }
    try volume.unmount()
    #expect(counts() == [2, 2])
  }
}

import Glibc
import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// What a balance and a resize are told while they run, and what is left of one that cannot begin.
@Suite(.timeLimit(.minutes(5))) struct BalanceRequestTests {
  /// A caller that has been told that the balance ends does not find it paused.
  @Test func pauseDoesNotUndoCancel() throws {
    var random = SeededRandom(testSeed: 101)
    let memory = try TestImage.make(sizeBytes: 512 << 20)
    let device = try SimulatedDevice(memory)
    let volume = try Volume.mountForTest(device)
    try volume.populate(&random, files: 40)
    try volume.synchronizeAll()
    try volume.balance.start(.all)
    // It waits for the device now, or soon.
    device.hold(.write)
    try #require(device.wait(.write, beyond: device.count(.write)))
    try #require(volume.balance.requestCancel())
    try #require(volume.balance.requestPause())
    #expect(volume.balance.status.phase == .stopping)
    device.letGo(.write)
    try volume.finishBalance(.cancelled)
    #expect(volume.balance.status.phase == .none)
    #expect(try !volume.trees.root.contains(BalanceItem.key))
    try volume.unmount()
    try CacheJudge.check(memory)
  }

  /// A group that does not become empty is left out, and the balance goes on.
  @Test func busyGroupDoesNotEndIt() throws {
    var random = SeededRandom(testSeed: 102)
    let device = try TestImage.make(sizeBytes: 768 << 20)
    let volume = try Volume.mountForTest(device)
    try volume.populate(&random, files: 40)
    try volume.content.allocate(
      try volume.makeFile("/more"), .plain, offset: 0, length: 100 << 20)
    try volume.synchronizeAll()
    let lines = try volume.stateLines()
    let groups = volume.space.groups.all.filter { $0.flags.contains(.data) && $0.used > 0 }
    try #require(groups.count >= 2)
    // A writer that does not come to an end.
    let (place, _) = try volume.space.allocator.allocateData(
      length: 4096, minimum: 4096, hint: nil)
    let group = try volume.space.groups.group(containing: place)
    var plan = BalancePlan()
    plan.data = BalanceFilter()
    try volume.balance.start(plan)
    try volume.finishBalance(.noSpace(groups: 1))
    #expect(!group.isReadOnly)
    let now = Set(volume.space.groups.all.map(\.start))
    #expect(Set(groups.map(\.start)).intersection(now) == [group.start])
    volume.space.allocator.abandon(place, length: 4096)
    #expect(try volume.stateLines() == lines)
    try volume.synchronizeAll()
    #expect(volume.brokenInvariants() == [])
    try volume.unmount()
    try CacheJudge.check(device)
  }

  /// Space that was to be written in place stays so when a balance moves blocks that trees share, of
  /// which the tree's root item then speaks.
  @Test func placesOfWritesOutlastAMove() throws {
    let device = try TestImage.make(sizeBytes: 256 << 20)
    let volume = try Volume.mountForTest(device)
    let id = try volume.makeFile("/file")
    try volume.addFlags(id, [.noDataCow, .noDataSum])
    try volume.writeBytes(id, at: 0, [UInt8](repeating: 1, count: 400_000))
    let reserved = try volume.makeFile("/reserved")
    try volume.content.allocate(reserved, .plain, offset: 0, length: 400_000)
    try volume.synchronizeAll()
    func places(_ id: InodeID) throws -> Set<LogicalAddress> {
      Set(try FilesSpaceTests.extents(volume, id).map(\.item.diskAddress))
    }
    let before = (try places(id), try places(reserved))
    // The volume is filled: what is written in place has no other.
    var filler = 0
    var length: UInt64 = 8 << 20
    while length >= 4096 {
      let id = try volume.makeFile("/fill\(filler)")
      do throws(FilesystemError) {
        try volume.content.allocate(
          id, .plain, offset: 0, length: length)
      } catch .noSpace {
        length /= 2
      } catch {
        throw error
      }
      filler += 1
    }
    let bytes = [UInt8](repeating: 2, count: 100_000)
    try volume.writeBytes(id, at: 40960, bytes)
    try volume.writeBytes(reserved, at: 40960, bytes)

    let tree = try volume.inodes.inode(id).tree
    try volume.makeFile("/changes-the-tree")
    try volume.transactions.perform(reserving: 2) { (handle) throws(FilesystemError) in
      handle.noteChange()
      tree.lock.exclusive { tree.noteSharing(in: handle.generation) }
    }
    #expect(tree.lastSnapshot > tree.itemsSharedThrough)
    try volume.synchronizeAll()
    #expect(try places(id) == before.0)
    #expect(try places(reserved) == before.1)
    #expect(try volume.readBytes(id, at: 40960, count: 100_000) == bytes)
    #expect(try volume.readBytes(reserved, at: 40960, count: 100_000) == bytes)
    try volume.unmount()
    try CacheJudge.check(device)
  }

  /// An image whose commits have to read from the device, and that has one copy of each block.
  private func makeScattered() throws -> MemoryDevice {
    let device = try TestImage.make(sizeBytes: 2 << 30) { options in
      options.nodeSize = 4096
      options.spaceRecord = .v2
      options.metadata = .single
    }
    let volume = try Volume.mountForTest(device)
    for file in 0..<400 {
      let id = try volume.makeFile("/f\(file)")
      let count = file % 3 == 0 ? 9000 : 700
      try volume.writeBytes(id, at: 0, [UInt8](repeating: UInt8(file & 255), count: count))
    }
    try volume.unmount()
    return device
  }

  /// Leaves references behind that a commit has to apply, and nothing in memory that the device has.
  private func change(_ volume: Volume) throws {
    for file in stride(from: 0, to: 400, by: 9) { try volume.remove("/f\(file)") }
    volume.files.flushAll()
    let clean = volume.memory.cleanBlocks
    clean.charge(1 << 40)
    for _ in 0..<3 { volume.trees.context.cache.trim() }
    clean.giveBack(1 << 40)
  }

  /// Lets each read in turn fail of what `body` does with the volume. Where that throws and the volume
  /// goes on, `judge` is called after another commit. Returns how often.
  private func failEachRead(
    _ base: MemoryDevice, _ body: (Volume) throws -> Void, judge: (Volume) throws -> Void
  ) throws -> Int {
    var (number, judged) = (0, 0)
    while true {
      let device = try SimulatedDevice(base.copy())
      let volume = try Volume.mountForTest(device)
      try change(volume)
      device.fail(.init([.read], after: number, times: 1))
      var isRefused = false
      do { try body(volume) } catch { isRefused = true }
      let hasFailed = device.failures > 0
      device.heal()
      if isRefused, volume.transactions.failure == nil {
        judged += 1
        try volume.makeFile("/after")
        try volume.synchronizeAll()
        try judge(volume)
        #expect(volume.brokenInvariants() == [], "read \(number)")
        try volume.unmount()
        try CacheJudge.check(device.memory)
        let again = try Volume.mountForTest(device.memory)
        try judge(again)
        try again.unmount()
      } else {
        _ = volume.balance.wait(seconds: 60)
        try? volume.unmount()
      }
      guard hasFailed, number < 60 else { return judged }
      number += 1 + number / 12
    }
  }

  /// A balance that could not begin is not gone on with by the next mount.
  @Test func balanceThatCannotBeginLeavesNoItem() throws {
    let judged = try failEachRead(try makeScattered()) { volume in
      var plan = BalancePlan()
      plan.data = try BalanceFilter(text: "usage=0")
      try volume.balance.start(plan)
      try volume.finishBalance()
    } judge: { volume in
      let hasItem = try volume.trees.root.contains(BalanceItem.key)
      #expect(!hasItem && volume.balance.status.phase == .none)
    }
    #expect(judged > 2)
  }

  /// A size that could not be committed is not what the trees and the superblock say.
  @Test func sizeThatIsNotCommittedIsUndone() throws {
    let base = try makeScattered()
    let old = base.sizeBytes
    let judged = try failEachRead(base) { volume in
      try volume.resize(to: old + (512 << 20))
    } judge: { volume in
      #expect(volume.sizeBytes == old)
      #expect(volume.space.chunks.allocator.unallocated < old)
    }
    #expect(judged > 2)
  }

  /// Unmounting does not wait for all of a shrink: it is told to stop, and the old size stays.
  @Test func shrinkIsStopped() throws {
    var random = SeededRandom(testSeed: 103)
    let memory = try TestImage.make(sizeBytes: 1 << 30)
    let device = try SimulatedDevice(memory)
    let volume = try Volume.mountForTest(device)
    try volume.content.allocate(
      try volume.makeFile("/first"), .plain, offset: 0, length: 300 << 20)
    try volume.populate(&random, files: 200)
    for number in 0..<200 {
      try volume.writeBytes(try volume.makeFile("/f\(number)"), at: 0, random.bytes(20_000))
    }
    try volume.synchronizeAll()
    try volume.remove("/first")
    try volume.synchronizeAll()
    let lines = try volume.stateLines()
    device.delay(.write, microseconds: 20_000)
    let answer = Guarded<FilesystemError?>(nil, rank: .leaf)
    let thread = BackgroundThread {
      do throws(FilesystemError) {
        try volume.resize(to: 300 << 20)
      } catch {
        answer.withLock { $0 = error }
      }
    }
    expectSoon("a group is being emptied") { volume.space.groups.all.contains { $0.isReadOnly } }
    #expect(throws: FilesystemError.busy("a resize is running")) { try volume.balance.start(.all) }
    let start = ContinuousClock.now
    volume.stopMoving()
    thread.join()
    #expect(ContinuousClock.now - start < .seconds(5))
    guard case .busy(let why) = answer.withLock({ $0 }) else {
      throw TestFailure("the shrink was not stopped: \(String(describing: answer.withLock { $0 }))")
    }
    #expect(why.contains("unmounted"))
    device.delay(.write, microseconds: 0)
    #expect(volume.sizeBytes == 1 << 30 && device.sizeBytes == 1 << 30)
    #expect(volume.space.groups.all.allSatisfy { !$0.isReadOnly })
    // Nothing begins any more.
    for attempt in 0..<2 {
      #expect {
        if attempt == 0 { try volume.balance.start(.all) } else { try volume.resize(to: 2 << 30) }
      } throws: {
        guard case FilesystemError.busy(let why) = $0 else { return false }
        return why.contains("unmounted")
      }
    }
    #expect(try volume.stateLines() == lines)
    try volume.unmount()
    try CacheJudge.check(memory)
    // The next mount does it.
    let again = try Volume.mountForTest(memory)
    try again.resize(to: 300 << 20)
    #expect(try again.stateLines() == lines)
    try again.unmount()
    try CacheJudge.check(memory)
  }

  /// Space that another thread is about to give back is waited for, and not taken for none.
  @Test func looksForEmptyChunksOfTwoThreads() throws {
    let memory = try TestImage.make(sizeBytes: 4 << 30)
    let device = try SimulatedDevice(memory)
    let volume = try Volume.mountForTest(device)
    try volume.content.allocate(
      try volume.makeFile("/large"), .plain, offset: 0, length: 600 << 20)
    try volume.synchronizeAll()
    try volume.remove("/large")
    try volume.synchronizeAll()
    try volume.writeBytes(try volume.makeFile("/f"), at: 0, [1])
    // The commit writes caches in its critical section, and nobody joins meanwhile.
    device.hold(.write)
    let held = device.count(.write)
    let committing = BackgroundThread { try? volume.commit() }
    try #require(device.wait(.write, beyond: held))
    let first = Guarded<Bool?>(nil, rank: .leaf)
    let second = Guarded<Bool?>(nil, rank: .leaf)
    let threads = [first, second].map { result in
      let thread = BackgroundThread {
        let found = try? volume.remover.removeEmpty()
        result.withLock { $0 = found }
      }
      usleep(200_000)
      return thread
    }
    #expect(first.withLock { $0 } == nil && second.withLock { $0 } == nil)
    device.letGo(.write)
    for thread in threads + [committing] { thread.join() }
    #expect(first.withLock { $0 } == true && second.withLock { $0 } == true)
    try volume.unmount()
    try CacheJudge.check(memory)
  }
}

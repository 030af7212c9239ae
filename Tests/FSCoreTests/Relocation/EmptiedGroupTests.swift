import SimulatedDevices
import Synchronization
import TestSupport
import Testing

@testable import FSCore

/// What becomes of a block group's v1 cache, and of what stands in its way, while the group is
/// emptied.
@Suite(.timeLimit(.minutes(5))) struct EmptiedGroupTests {
  /// The group in which most of the data is.
  private func dataGroup(_ volume: Volume) throws -> BlockGroup {
    let groups = volume.space.groups.all.filter { $0.flags.contains(.data) }
    return try #require(groups.max { $0.used < $1.used })
  }

  private func inodeGeneration(
    _ device: MemoryDevice, _ group: LogicalAddress
  ) throws -> (header: Bool, inode: Generation?) {
    let volume = try Volume.mountForTest(device) { $0.readOnly = true }
    let root = volume.trees.root
    let header = try FreeSpaceInode.header(of: group, in: root)
    return (header != nil, try FreeSpaceInode.find(of: group, in: root)?.item()?.generation)
  }

  @Test(arguments: [false, true]) func itsCacheIsDeletedAndWrittenAgain(isMixed: Bool) throws {
    var random = SeededRandom(testSeed: 81)
    let device = try TestImage.make(sizeBytes: 4 << 30) { $0.isMixed = isMixed }
    let volume = try Volume.mountForTest(device)
    try volume.populate(&random, files: 60)
    // Another group of the kind, for what is written meanwhile.
    try volume.content.allocate(
      try volume.makeFile("/more"), .plain, offset: 0, length: 300 << 20)
    try volume.synchronizeAll()
    #expect(try CacheJudge.judge(device.copy()).valid.count >= 1)
    let group = try dataGroup(volume)
    let isReadOnly = group.makeReadOnly { _, _ in true }
    try #require(isReadOnly)

    // Nothing has changed in it: what is on the device is right, and stays.
    try volume.writeBytes(try volume.makeFile("/other"), at: 0, random.bytes(9000))
    try volume.synchronizeAll()
    if !isMixed {
      #expect(try inodeGeneration(device.copy(), group.start).inode != 0)
    }

    for round in 0..<3 {
      try volume.remove("/large\(round)")
      try volume.synchronizeAll()
      #expect(volume.brokenInvariants() == [])
      let copy = device.copy()
      #expect(try inodeGeneration(copy, group.start) == (false, nil))
      try CacheJudge.judge(copy, without: [group.start])
      if round == 1 { try CacheJudge.check(copy) }
      // The other caches are believed, and the next mount finds the group in the extent tree.
      let again = try Volume.mountForTest(copy)
      #expect(try again.stateLines() == volume.stateLines())
      try again.unmount()
      try CacheJudge.judge(copy, without: [group.start])
    }
    #expect(
      volume.record.statistics.skipped.contains { $0.reason == "the block group is being emptied" })

    volume.remover.reopen(group)
    try volume.commit()
    #expect(volume.caches.isExact(group))
    try CacheJudge.judge(device.copy())
    try volume.unmount()
    try CacheJudge.check(device)
  }

  /// A group that was read-only when the commit looked at it, and is not when its turn comes.
  @Test func groupIsLeftWhileCachesAreSetUp() throws {
    var random = SeededRandom(testSeed: 83)
    let device = try TestImage.make(sizeBytes: 4 << 30)
    let volume = try Volume.mountForTest(device)
    try volume.populate(&random, files: 60)
    try volume.content.allocate(
      try volume.makeFile("/more"), .plain, offset: 0, length: 300 << 20)
    try volume.synchronizeAll()
    let group = try dataGroup(volume)
    let isReadOnly = group.makeReadOnly { _, _ in true }
    try #require(isReadOnly)
    let isLeft = Atomic<Bool>(false)
    volume.caches.hooks.withLock {
      $0.refusesSetup = { other in
        if other < group.start, !isLeft.exchange(true, ordering: .relaxed) { group.makeWritable() }
        return false
      }
    }
    try volume.remove("/large0")
    try volume.synchronizeAll()
    let wasLeft = isLeft.load(ordering: .relaxed)
    #expect(wasLeft)
    #expect(volume.caches.isExact(group))
    try CacheJudge.judge(device.copy())
    try volume.unmount()
    try CacheJudge.check(device)
  }

  /// With commits at every moment of a balance, no cache is written of a group that is emptied.
  @Test(arguments: [0, 4, 6]) func noCacheIsWrittenMeanwhile(number: Int) throws {
    let variant = BalanceVariant.all[number]
    var random = SeededRandom(testSeed: 82)
    let memory = try variant.makeImage(megabytes: 4096)
    let device = try SimulatedDevice(memory)
    let volume = try variant.mount(device)
    try volume.populate(&random, files: 60)
    let written = Atomic<Int>(0)
    let wrong = Atomic<Int>(0)
    let groups = volume.space.groups
    volume.caches.hooks.withLock {
      $0.writeFailure = { address in
        written.add(1, ordering: .relaxed)
        if (try? groups.group(containing: address))?.isReadOnly == true {
          wrong.add(1, ordering: .relaxed)
        }
        return nil
      }
    }
    device.delay(.write, microseconds: 200)
    try volume.balance.start(.all)
    var number = 0
    while !volume.balance.wait(seconds: 0.005) {
      number += 1
      try volume.writeBytes(try volume.makeFile("/new\(number)"), at: 0, random.bytes(5000))
      try volume.synchronizeAll()
    }
    try volume.finishBalance()
    #expect(written.load(ordering: .relaxed) > 0)
    #expect(wrong.load(ordering: .relaxed) == 0)
    #expect(
      volume.record.statistics.skipped.contains { $0.reason == "the block group is being emptied" })
    try volume.unmount()
    try CacheJudge.judge(memory)
    try CacheJudge.check(memory)
  }

  /// A balance that is paused in the midst of a group leaves it with a cache.
  @Test func groupThatIsLeftHasItsCacheAgain() throws {
    var random = SeededRandom(testSeed: 83)
    let memory = try TestImage.make(sizeBytes: 4 << 30)
    let device = try SimulatedDevice(memory)
    let volume = try Volume.mountForTest(device)
    try volume.populate(&random, files: 200)
    try volume.synchronizeAll()
    let group = try dataGroup(volume)
    device.delay(.write, microseconds: 2000)
    var plan = BalancePlan()
    plan.data = BalanceFilter()
    try volume.balance.start(plan)
    expectSoon("some extents move") { volume.balance.status.bytesMoved > 0 && group.isReadOnly }
    try volume.commit()
    try volume.balance.pause()
    device.delay(.write, microseconds: 0)
    try #require(volume.balance.status.phase == .paused && !group.isReadOnly)
    // Nothing else asks for a commit.
    try volume.unmount()
    try CacheJudge.judge(memory)
    try CacheJudge.check(memory)
  }

  /// Makes a file of the root tree such as an old record may have left, in the group of most data.
  private func makeLeftover(
    _ volume: Volume, of owner: LogicalAddress?, length: UInt64 = 65536
  ) throws -> ObjectID {
    let root = volume.trees.root
    let group = try dataGroup(volume)
    let place = try #require(
      group.allocate(length: length, alignment: 4096, hint: nil, from: .none))
    var number: ObjectID = .firstFree
    while try root.contains(Key(number, .inodeItem, 0)) || root.contains(Key(number, .rootItem, 0))
    {
      number = ObjectID(number.rawValue + 1)
    }
    try volume.transactions.perform(reserving: 8) { (handle) throws(FilesystemError) in
      let inode = try FreeSpaceInode.create(
        for: owner ?? 0, number: number, in: root, in: handle)
      if owner == nil {
        // Nothing leads to it.
        _ = try root.delete(FreeSpaceHeader.key(of: 0), in: handle)
      }
      let extent = FileExtentItem(
        generation: handle.generation, kind: .regular, diskAddress: place, diskLength: length,
        ramBytes: length, offset: 0, length: length)
      try root.insert(inode.extentKey(0), size: FileExtentItem.size, in: handle) {
        extent.encode(into: $0)
      }
      try inode.change(in: handle) {
        $0.becomeCache(length: length)
        $0.generation = handle.generation
      }
      volume.references.add(
        place, .data(length: length), .data(root: .root, inode: number, offset: 0), count: 1,
        newExtent: true, in: handle)
    }
    try volume.synchronizeAll()
    return number
  }

  /// Files of the root tree that no record keeps do not keep a group from being emptied.
  @Test(arguments: [0, 1, 2, 3]) func leftoversGo(number: Int) throws {
    let variant = BalanceVariant.all[number]
    var random = SeededRandom(testSeed: 84)
    let device = try variant.makeImage(megabytes: 4096)
    let volume = try variant.mount(device)
    try volume.populate(&random, files: 40)
    try volume.synchronizeAll()
    let lines = try volume.stateLines()
    // One that nothing leads to; where there are no caches, one of each group, too.
    var leftovers = [try makeLeftover(volume, of: nil)]
    if variant.record != .v1 {
      for group in volume.space.groups.all where !group.flags.contains(.system) {
        leftovers.append(try makeLeftover(volume, of: group.start))
      }
    }
    let before = Set(volume.space.groups.all.filter { $0.flags.contains(.data) }.map(\.start))
    // Without a record, btrfs check looks into any cache that it finds.
    if variant.record != .none { try CacheJudge.check(device.copy()) }
    try volume.balanceAll(metadata: nil)
    #expect(before.isDisjoint(with: volume.space.groups.all.map(\.start)))
    try volume.synchronizeAll()
    #expect(volume.brokenInvariants() == [])
    for number in leftovers {
      let inode = FreeSpaceInode(group: 0, number: number, root: volume.trees.root)
      #expect(try inode.extents().items.isEmpty)
      #expect(try (inode.item()?.generation ?? 0) == 0)
    }
    #expect(try volume.stateLines() == lines)
    try volume.unmount()
    try CacheJudge.check(device)
  }

  /// An extent is moved in one piece, as Linux does. Where there is no such piece it stays, its group
  /// is counted, and it moves when there is.
  @Test func extentWithoutARunStays() throws {
    let device = try TestImage.make(sizeBytes: 256 << 20)
    let volume = try Volume.mountForTest(device)
    let large = try volume.makeFile("/large")
    let bytes = [UInt8](repeating: 7, count: 1 << 20)
    for part in 0..<16 { try volume.writeBytes(large, at: UInt64(part) << 20, bytes) }
    try volume.content.allocate(large, .plain, offset: 16 << 20, length: 20 << 20)
    try volume.synchronizeAll()
    var count = 0
    while true {
      let id = try volume.makeFile("/f\(count)")
      do throws(FilesystemError) {
        try volume.content.allocate(id, .plain, offset: 0, length: 1 << 20)
      } catch .noSpace {
        break
      }
      count += 1
    }
    try volume.synchronizeAll()
    for number in stride(from: 0, to: count, by: 2) { try volume.remove("/f\(number)") }
    try volume.synchronizeAll()
    let extent = try #require(try FilesSpaceTests.extents(volume, large).last)
    let group = try volume.space.groups.group(containing: extent.item.diskAddress)
    let lines = try volume.stateLines()
    func balance() throws -> BalanceStatus {
      var plan = BalancePlan()
      plan.data = BalanceFilter()
      plan.data?.range = group.start.rawValue..<(group.start.rawValue + 1)
      try volume.balance.start(plan)
      #expect(volume.balance.wait(seconds: 60))
      return volume.balance.status
    }
    #expect(try balance().outcome == .noSpace(groups: 1))
    #expect(
      try FilesSpaceTests.extents(volume, large).last?.item.diskAddress == extent.item.diskAddress)
    #expect(!group.isReadOnly)
    #expect(try volume.stateLines() == lines)
    try volume.synchronizeAll()
    #expect(volume.brokenInvariants() == [])
    try CacheJudge.check(device.copy())

    for number in stride(from: 1, to: count, by: 2) { try volume.remove("/f\(number)") }
    try volume.synchronizeAll()
    #expect(try balance().outcome == .completed)
    #expect(
      try FilesSpaceTests.extents(volume, large).last?.item.diskAddress != extent.item.diskAddress)
    try volume.unmount()
    try CacheJudge.check(device)
  }
}

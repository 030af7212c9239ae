import SimulatedDevices
import Synchronization
import TestSupport
import Testing

@testable import FSCore

/// Balances beside writers, and on devices that fail or lose their power.
@Suite(.timeLimit(.minutes(10))) struct BalanceFaultTests {
  /// Wherever the power is cut, the image is right, and the balance goes on after the next mount.
  @Test(arguments: [0, 1, 5, 6]) func powerCuts(number: Int) throws {
    let variant = BalanceVariant.all[number]
    print("power cuts while a balance runs, \(variant.name), seed 43")
    var random = SeededRandom(testSeed: 43)
    let memory = try variant.makeImage(megabytes: 300)
    do {
      let volume = try variant.mount(memory)
      try volume.populate(&random, files: 60)
      try volume.unmount()
    }
    let device = try SimulatedDevice(memory, recording: true)
    let volume = try variant.mount(device)
    let lines = try volume.stateLines()
    try volume.synchronizeAll()
    let start = device.recorded.count
    try volume.balanceAll()
    try volume.unmount()

    let resumed = try device.judgePowerCuts(from: start, parts: 15, lines: lines, &random) {
      try variant.mount($0)
    }
    #expect(resumed > 3)
  }

  /// Files are written, overwritten in place, cut, punched and deleted meanwhile.
  @Test(arguments: [0, 1, 4, 7]) func writersGoOn(number: Int) throws {
    let variant = BalanceVariant.all[number]
    print("a balance beside writers, \(variant.name), seed 44")
    var random = SeededRandom(testSeed: 44)
    let device = try variant.makeImage(megabytes: 768)
    let volume = try variant.mount(device)
    try volume.populate(&random, files: 100)
    let unchanged = Set(try volume.stateLines())

    let isOver = Atomic<Bool>(false)
    let threads = 3
    var models: [FilesModel] = []
    for index in 0..<(threads * 2) {
      let id = try volume.makeFile("/model\(index)")
      if index % 3 == 2 { try volume.addFlags(id, [.noDataCow, .noDataSum]) }
      models.append(FilesModel(volume, id, seed: UInt64(index) + 100, largest: 1_500_000))
    }
    let results = Guarded<[Int: FilesModel]>([:], rank: .leaf)
    let failure = Guarded<(any Error)?>(nil, rank: .leaf)
    let workers = (0..<threads).map { index in
      let mine = Guarded([models[2 * index], models[2 * index + 1]], rank: .rename)
      return BackgroundThread {
        var own = mine.withLock { $0 }
        do {
          while !isOver.load(ordering: .relaxed) {
            for each in own.indices { try own[each].step() }
          }
        } catch {
          failure.withLock { $0 = error }
        }
        results.withLock { results in
          for each in own.indices { results[2 * index + each] = own[each] }
        }
      }
    }
    for _ in 0..<3 {
      try volume.balance.start(.all)
      try volume.finishBalance()
      try volume.synchronizeAll()
    }
    isOver.store(true, ordering: .relaxed)
    for worker in workers { worker.join() }
    if let error = failure.withLock({ $0 }) { throw error }
    let done = results.withLock { $0 }
    for model in done.values { try model.checkAll() }
    try volume.synchronizeAll()
    #expect(volume.brokenInvariants() == [])
    for model in done.values { try model.checkAll() }
    #expect(unchanged.isSubset(of: Set(try volume.stateLines())))
    let lines = try volume.stateLines()
    try volume.unmount()
    try CacheJudge.check(device)
    let again = try variant.mount(device)
    #expect(try again.stateLines() == lines)
    try again.unmount()
  }

  /// A read, a write or a flush that fails ends the balance, or aborts the volume; the image is right.
  @Test(arguments: [SimulatedDevice.Operation.read, .write, .flush])
  func failuresEndItCleanly(operation: SimulatedDevice.Operation) throws {
    var random = SeededRandom(testSeed: 45)
    let variant = BalanceVariant.all[5]
    let image = try variant.makeImage(megabytes: 300)
    let first = try variant.mount(image)
    try first.populate(&random, files: 40)
    let lines = try first.stateLines()
    try first.unmount()

    var failed = 0
    var aborted = 0
    var after = 0
    while true {
      let device = try SimulatedDevice(image.copy())
      let volume = try variant.mount(device)
      device.fail(SimulatedDevice.Fault([operation], after: after, times: 1))
      try? volume.balance.start(.all)
      #expect(volume.balance.wait(seconds: 60))
      let hasFailed = device.failures > 0
      device.heal()
      if volume.transactions.failure == nil {
        if case .failed = volume.balance.status.outcome { failed += 1 }
        try volume.synchronizeAll()
        #expect(volume.brokenInvariants() == [], "after \(after)")
        #expect(try volume.stateLines() == lines, "after \(after)")
      } else {
        aborted += 1
      }
      try? volume.unmount()
      try CacheJudge.check(device.memory)
      let again = try variant.mount(device.memory)
      _ = again.balance.wait(seconds: 60)
      #expect(try again.stateLines() == lines, "after \(after)")
      try again.unmount()
      guard hasFailed, after < 400 else { break }
      after += 1 + after / 4
    }
    print("\(operation) failures: \(failed) ended a balance, \(aborted) aborted the volume")
    // What cannot be made durable is no balance's business.
    #expect(operation == .flush ? aborted > 2 : failed > 0)
  }

  /// Data that do not have their checksum are not moved.
  @Test func wrongDataStay() throws {
    var random = SeededRandom(testSeed: 46)
    let variant = BalanceVariant.all[0]
    let device = try variant.makeImage(megabytes: 256)
    let volume = try variant.mount(device)
    let id = try volume.makeFile("/file")
    try volume.writeBytes(id, at: 0, random.bytes(300_000))
    try volume.synchronizeAll()
    let inode = try volume.inodes.inode(id)
    let extent = try inode.content.shared { () throws(FilesystemError) in
      try inode.extents(in: 0..<4096)
    }[0]
    let place = try volume.device.locate(extent.item.diskAddress, length: 4096, copy: 0)
    try [UInt8](repeating: 3, count: 4096).withUnsafeBytes {
      try device.write($0, at: place.offset)
    }
    var plan = BalancePlan()
    plan.data = BalanceFilter()
    try volume.balance.start(plan)
    #expect(volume.balance.wait(seconds: 60))
    guard case .failed(let why) = volume.balance.status.outcome else {
      throw TestFailure("the balance has moved wrong data")
    }
    #expect(why.contains("checksum"))
    #expect(try !volume.trees.root.contains(BalanceItem.key))
    #expect(throws: FilesystemError.self) { try volume.readBytes(id, at: 0, count: 100) }
    try volume.synchronizeAll()
    #expect(volume.brokenInvariants() == [])
    try volume.unmount()
  }
}

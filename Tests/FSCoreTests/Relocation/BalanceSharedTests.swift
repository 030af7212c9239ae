import Glibc
import SimulatedDevices
import Synchronization
import TestSupport
import Testing

@testable import FSCore

/// Balances of trees that snapshots share, beside writers and with the power cut.
@Suite(
  .enabled(if: isRoot && Shell.find("mkfs.btrfs") != nil, "SKIPPED: needs root, for loop mounts"),
  .timeLimit(.minutes(10)))
struct BalanceSharedTests {
  /// What Linux makes, in memory.
  private static func makeImage(_ format: String) throws -> MemoryDevice {
    let directory = try TemporaryDirectory(inMemory: true)
    let image = directory.file("image")
    let mountPoint = try directory.directory("mount")
    try Shell.run("truncate", "-s", "1G", image).orThrow()
    try Shell.run("bash", "-c", "mkfs.btrfs -q \(format) \(image)").orThrow()
    let options = format.contains("^free-space-tree") ? LoopMount.kernelOptions : "noatime"
    let kernel = try LoopMount(image, at: mountPoint, options: options + ",compress=zstd")
    try Shell.run("bash", "-c", BalanceKernelTests.script, "bash", mountPoint, timeout: 300)
      .orThrow()
    try kernel.unmount()
    return try load(image)
  }

  private static func load(_ path: String) throws -> MemoryDevice {
    let file = try FileDevice(path: path, readOnly: true)
    let memory = MemoryDevice(sizeBytes: file.sizeBytes)
    let buffer = AlignedBuffer(count: 1 << 16)
    for offset in stride(from: 0, to: file.sizeBytes, by: buffer.count) {
      try file.read(into: buffer.bytes, at: PhysicalAddress(offset))
      if !buffer.readable.isZero {
        try memory.write(buffer.readable, at: PhysicalAddress(offset))
      }
    }
    return memory
  }

  private static let formats = ["-R ^free-space-tree", "-R free-space-tree -n 4096"]

  @Test(arguments: formats) func powerCuts(format: String) throws {
    print("power cuts while shared trees move, '\(format)', seed 71")
    var random = SeededRandom(testSeed: 71)
    let device = try SimulatedDevice(Self.makeImage(format), recording: true)
    let volume = try Volume.mountForTest(device)
    let lines = try volume.stateLines()
    try volume.synchronizeAll()
    let start = device.recorded.count
    try volume.balance.start(.all)
    // Commits come in the midst.
    while !volume.balance.wait(seconds: 0.01) { try volume.commit() }
    try volume.finishBalance()
    #expect(try volume.stateLines() == lines)
    try volume.unmount()

    let resumed = try device.judgePowerCuts(from: start, parts: 12, lines: lines, &random) {
      try Volume.mountForTest($0)
    }
    #expect(resumed > 2)
  }

  private static let names = [
    "mixed1", "plain1", "clone3", "nocow1", "allocated1", "clone2", "sub/g30", "sub/clone4",
    "snap1/g30", "snap1/clone4", "snap3/g80", "sub/g100", "snap1/g100", "snap3/g100", "sub/g199",
  ]

  @Test(arguments: formats) func writersGoOn(format: String) throws {
    print("shared trees move beside writers, '\(format)', seed 72")
    let device = try Self.makeImage(format)
    let volume = try Volume.mountForTest(device)
    let isTouched = { (line: String) in
      Self.names.contains { line.hasPrefix("/\($0) ") } || line.hasPrefix("/many/link1 ")
    }
    let unchanged = try volume.stateLines().filter { !isTouched($0) }
    let isOver = Atomic<Bool>(false)
    let failure = Guarded<(any Error)?>(nil, rank: .leaf)
    let results = Guarded<[FilesModel]>([], rank: .leaf)
    let workers = try (0..<3).map { index in
      var own: [FilesModel] = []
      for (number, name) in Self.names.enumerated() where number % 3 == index {
        let id = try volume.find(name)
        let size = Int(try volume.attributes.attributes(of: id).item.size)
        var model = FilesModel(volume, id, seed: UInt64(number) + 200, largest: 900_000)
        model.state.bytes = try volume.readBytes(id, at: 0, count: size)
        own.append(model)
      }
      let mine = Guarded(own, rank: .rename)
      return BackgroundThread {
        var own = mine.withLock { $0 }
        do {
          while !isOver.load(ordering: .relaxed) {
            for each in own.indices { try own[each].step() }
            usleep(2000)
          }
        } catch {
          failure.withLock { $0 = error }
        }
        results.withLock { $0 += own }
      }
    }
    for _ in 0..<2 {
      try volume.balance.start(.all)
      try volume.finishBalance()
      try volume.synchronizeAll()
    }
    isOver.store(true, ordering: .relaxed)
    for worker in workers { worker.join() }
    if let error = failure.withLock({ $0 }) { throw error }
    for model in results.withLock({ $0 }) { try model.checkAll() }
    try volume.synchronizeAll()
    #expect(volume.brokenInvariants() == [])
    #expect(try volume.stateLines().filter { !isTouched($0) } == unchanged)
    let lines = try volume.stateLines()
    try volume.unmount()
    try CacheJudge.check(device)

    let directory = try TemporaryDirectory(inMemory: true)
    try device.save(to: directory.file("image"))
    #expect(
      try KernelState.lines(
        of: directory.file("image"), in: directory,
        hasFreeSpaceTree: !format.contains("^free-space-tree")) == lines)
  }
}

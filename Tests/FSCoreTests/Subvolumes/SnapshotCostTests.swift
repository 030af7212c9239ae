import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// What a snapshot and a deletion cost, counted and not timed: the same, however much is in the subvolume.
@Suite(.timeLimit(.minutes(2))) struct SnapshotCostTests {
  private struct Cost {
    var commits: UInt64
    var blocks: UInt64
  }

  /// What `body` has written by the time that all is durable.
  private func cost(_ volume: Volume, _ body: () throws -> Void) throws -> Cost {
    for _ in 0..<3 { try volume.synchronizeAll() }
    let before = volume.report().commits
    try body()
    let after = volume.report().commits
    return Cost(
      commits: after.whole.count - before.whole.count, blocks: after.blocks - before.blocks)
  }

  private func used(_ volume: Volume) -> UInt64 {
    volume.space.groups.classes.reduce(0) { $0 + $1.counters.withLock { $0.used } }
  }

  private func make(_ path: String, files: Int, in volume: Volume) throws {
    try volume.makeSubvolume(path)
    let root = try volume.find(path)
    for number in 0..<files { try volume.file("file-\(number)", in: root) }
  }

  @Test func snapshotIsOneCommit() throws {
    let fixture = try NamesFixture(nodeSize: 4096)
    let volume = fixture.volume
    let count = TestSeed.isThorough ? 20_000 : 5000
    try make("/small", files: 10, in: volume)
    try volume.synchronizeAll()
    let before = used(volume)
    try make("/large", files: count, in: volume)
    let small = try cost(volume) { try volume.makeSnapshot(of: "/small", "/s1") }
    let treeBlocks = (used(volume) - before) / volume.geometry.nodeSize
    let large = try cost(volume) { try volume.makeSnapshot(of: "/large", "/s2") }
    print("a snapshot of 10 files: \(small), of \(count) in \(treeBlocks) tree blocks: \(large)")
    #expect(treeBlocks > 300)
    #expect(small.commits == 1 && large.commits == 1)
    // What the root block names is counted in the extent tree, in a few leaves more.
    #expect(large.blocks <= small.blocks + 8)
    try fixture.unmountAndCheck()
  }

  /// The command is done while the device does not let anybody read a block of the deleted tree.
  @Test func deletionReturnsAtOnce() throws {
    let device = try SimulatedDevice(TestImage.make(sizeBytes: 1 << 30))
    var volume = try Volume.mountForTest(device)
    try make("/other", files: 10, in: volume)
    try make("/large", files: 5000, in: volume)
    try volume.unmount()
    volume = try Volume.mountForTest(device)
    let id = try volume.find("/large").tree
    // So that what every deletion looks at is in memory.
    try volume.deleteSubvolume("/other")
    #expect(volume.cleaner.wait(seconds: 20))
    for _ in 0..<3 { try volume.synchronizeAll() }
    let before = used(volume)

    device.hold(.read)
    let cost = try cost(volume) { try volume.deleteSubvolume("/large") }
    #expect(cost.commits == 0)
    #expect(try volume.trees.deletedSubvolumes() == [id])
    #expect(!volume.cleaner.isIdle)
    #expect(used(volume) == before)
    #expect(errorNumber { try volume.find("/large") } != 0)
    device.letGo(.read)
    #expect(volume.cleaner.wait(seconds: 60))
    for _ in 0..<3 { try volume.synchronizeAll() }
    #expect(try volume.trees.deletedSubvolumes() == [])
    #expect(used(volume) < before / 2)
    try volume.unmount()
  }
}

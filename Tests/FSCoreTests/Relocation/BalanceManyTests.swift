import Glibc
import Synchronization
import TestSupport
import Testing

@testable import FSCore

/// Extents that very many files share, blocks that very many trees share, and extents that several
/// threads move at once. Linux makes the images and judges them.
@Suite(
  .enabled(if: isRoot && Shell.find("mkfs.btrfs") != nil, "SKIPPED: needs root, for loop mounts"),
  .timeLimit(.minutes(5)))
struct BalanceManyTests {
  private let directory: TemporaryDirectory
  private var image: String { directory.file("image") }
  private var mountPoint: String { directory.file("mount") }

  init() throws { directory = try TemporaryDirectory(inMemory: true) }

  private func makeImage(_ size: String = "2G", _ body: (String) throws -> Void) throws {
    try Shell.run("truncate", "-s", size, image).orThrow()
    try Shell.run("mkfs.btrfs", "-q", "-R", "free-space-tree", image).orThrow()
    let kernel = try LoopMount(image, at: mountPoint, options: "noatime")
    defer { try? kernel.unmount() }
    try body(mountPoint)
    try kernel.unmount()
  }

  private func mount() throws -> Volume {
    // Times of access would give each snapshot leaves of its own.
    try Volume.mountForTest(FileDevice(path: image, readOnly: false, waitSeconds: 10)) {
      $0.accessTimes = .noatime
    }
  }

  /// What the kernel's FICLONERANGE does with the whole file.
  private func clone(_ source: Int32, to path: String, at offset: Int64 = 0) throws {
    let target = try check("open \(path)") { open(path, O_CREAT | O_WRONLY, 0o644) }
    defer { close(target) }
    var range: [Int64] = [Int64(source), 0, 0, offset]
    try check("clone \(path)") {
      range.withUnsafeMutableBytes { Linux.ioctl(target, 0x4020_940d, $0.baseAddress!) }
    }
  }

  /// One extent, shared by more than a thousand files: all of them are locked at once.
  @Test func manySharers() throws {
    let count = 1500
    var random = SeededRandom(testSeed: 91)
    let bytes = random.bytes(100_000)
    try makeImage { root in
      try writeFile(BytePath(root + "/first"), bytes)
      let source = try check("open") { open(root + "/first", O_RDONLY) }
      defer { close(source) }
      mkdir(root + "/d", 0o755)
      for number in 0..<count { try clone(source, to: "\(root)/d/f\(number)") }
    }
    let volume = try mount()
    let first = try volume.find("first")
    let before = try FilesSpaceTests.extents(volume, first).map(\.item.diskAddress)
    let used = volume.space.groups.data.counters.withLock { $0.used }
    try volume.balanceAll(metadata: nil)
    let after = try FilesSpaceTests.extents(volume, first).map(\.item.diskAddress)
    #expect(Set(before).isDisjoint(with: after))
    for number in stride(from: 0, to: count, by: 97) {
      let id = try volume.find("d/f\(number)")
      #expect(try FilesSpaceTests.extents(volume, id).map(\.item.diskAddress) == after)
      #expect(try volume.readBytes(id, at: 0, count: 200_000) == bytes)
    }
    try volume.synchronizeAll()
    #expect(volume.brokenInvariants() == [])
    // All share the copy.
    #expect(volume.space.groups.data.counters.withLock { $0.used } == used)
    try volume.unmount()
    try ImageCheck.expectSound(image)
  }

  /// Leaves that hundreds of subvolumes share: all of their trees are locked at once, and they
  /// share the copies.
  @Test func manySubvolumes() throws {
    let count = 400
    var random = SeededRandom(testSeed: 92)
    try makeImage { root in
      try Shell.run("btrfs", "-q", "subvolume", "create", root + "/base").orThrow()
      for number in 0..<150 {
        try writeFile(
          BytePath("\(root)/base/f\(number)"), random.bytes(number % 10 == 0 ? 9000 : 900))
      }
      try makeSnapshots(count, of: root + "/base", in: root)
    }
    let volume = try mount()
    let lines = try volume.stateLines()
    let used = volume.space.groups.all.reduce(0) { $0 + $1.used }
    try volume.balanceAll()
    try volume.synchronizeAll()
    #expect(volume.brokenInvariants() == [])
    let nowUsed = volume.space.groups.all.reduce(0) { $0 + $1.used }
    print("\(count) subvolumes: \(used) bytes used, then \(nowUsed)")
    #expect(nowUsed <= used + used / 20)
    #expect(try volume.stateLines() == lines)
    try volume.unmount()
    try ImageCheck.expectSound(image)
  }

  /// A leaf that snapshots share has more items of an extent than are changed in one transaction: they
  /// are not divided in such a way that the leaf would not be shared any more.
  @Test func leavesStayShared() throws {
    var random = SeededRandom(testSeed: 93)
    let bytes = random.bytes(100_000)
    try makeImage { root in
      try Shell.run("btrfs", "-q", "subvolume", "create", root + "/sub").orThrow()
      for file in 0..<30 {
        let path = "\(root)/sub/f\(file)"
        try writeFile(BytePath(path), bytes)
        let source = try check("open") { open(path, O_RDONLY) }
        defer { close(source) }
        // Twenty items of one extent in one leaf.
        for part in 1...20 { try clone(source, to: path + "-clones", at: Int64(part) * 102_400) }
      }
      for number in 0..<6 {
        try Shell.run(
          "btrfs", "-q", "subvolume", "snapshot", root + "/sub", "\(root)/snap\(number)"
        ).orThrow()
      }
    }
    let volume = try mount()
    let lines = try volume.stateLines()
    let used = volume.space.groups.metadata.counters.withLock { $0.used }
    try volume.balanceAll(metadata: nil)
    try volume.synchronizeAll()
    let nowUsed = volume.space.groups.metadata.counters.withLock { $0.used }
    print("leaves that stay shared: \(used) bytes of tree blocks, then \(nowUsed)")
    #expect(nowUsed <= used + 6 * volume.geometry.nodeSize)
    #expect(volume.brokenInvariants() == [])
    #expect(try volume.stateLines() == lines)
    try volume.unmount()
    try ImageCheck.expectSound(image)
  }

  /// Several threads move extents of the same files and trees at once.
  @Test func moversBesideEachOther() throws {
    try makeImage { root in
      try Shell.run("bash", "-c", BalanceKernelTests.script, "bash", root, timeout: 300).orThrow()
    }
    let expected = try KernelState.lines(of: image, in: directory, hasFreeSpaceTree: true)
    let volume = try mount()
    let data = DataMover(
      geometry: volume.geometry, space: volume.space, trees: volume.trees,
      transactions: volume.transactions, references: volume.references,
      checksums: volume.checksums, inodes: volume.inodes, files: volume.files,
      device: volume.device, log: volume.log)
    let blocks = BlockMover(
      trees: volume.trees, transactions: volume.transactions, references: volume.references)
    let failure = Guarded<(any Error)?>(nil, rank: .leaf)
    let moved = Atomic<Int>(0)
    for round in 0..<2 {
      let extents = try volume.references.extents(from: 0, to: LogicalAddress(.max), atMost: .max)
        .filter { extent in
          (try? volume.space.groups.group(containing: extent.address))?.flags.contains(.system)
            == false
        }
      let workers = (0..<3).map { index in
        BackgroundThread {
          do {
            // Neighbours share files and leaves.
            for extent in extents.enumerated() where extent.offset % 3 == index {
              switch extent.element.kind {
              case .treeBlock(let level):
                if try blocks.move(extent.element.address, level: level) {
                  moved.add(1, ordering: .relaxed)
                }
              case .data(let length):
                if case .moved = try data.move(extent.element.address, length: length) {
                  moved.add(1, ordering: .relaxed)
                }
              }
            }
          } catch {
            failure.withLock { $0 = error }
          }
        }
      }
      for worker in workers { worker.join() }
      if let error = failure.withLock({ $0 }) { throw error }
      try volume.synchronizeAll()
      #expect(volume.brokenInvariants() == [], "round \(round)")
    }
    #expect(moved.load(ordering: .relaxed) > 100)
    try volume.unmount()
    try ImageCheck.expectSound(image)
    #expect(
      try KernelState.lines(of: image, in: directory, hasFreeSpaceTree: true) == expected)
  }
}

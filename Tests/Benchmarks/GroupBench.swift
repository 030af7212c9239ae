import FSCore
import FreeSpace
import Glibc
import Logging
import TestSupport

/// Commits that change the free space of many block groups, on an image that has many.
final class GroupBench {
  /// What commits that change `changed` groups take, each, in seconds.
  struct Cost {
    var changed: Int
    var cpu: Double
    var wall: Double
    /// Of the caches, on the device.
    var bytes: UInt64
    /// The part of these that was written before the critical section.
    var early: UInt64
  }

  let path: String
  let groups: Int
  private let device: any BlockDevice
  private(set) var volume: Volume
  /// How many extents at the beginning of each GiB have been freed.
  private var freed: UInt64 = 0

  private static let owner = Credentials(uid: 0, gid: 0)
  static let fileName = "groups"
  /// Extents at the beginning of each GiB that can be freed one by one.
  static let smallCount: UInt64 = 24

  /// Makes an image of so many data groups, nearly full of one preallocated file.
  ///
  /// - Parameter flushMicroseconds: how long the device takes to flush.
  init(
    path: String, groups: Int, spaceCache: VolumeOptions.SpaceCache = .v1,
    flushMicroseconds: UInt32 = 0
  ) throws {
    self.path = path
    self.groups = groups
    var options = MakeFilesystem.Options()
    options.sizeBytes = UInt64(groups + 8) << 30 + UInt64(groups) << 22
    options.spaceRecord = spaceCache == .v2 ? .v2 : .v1
    options.force = true
    _ = try MakeFilesystem.create(path: path, options: options)
    let file = try FileDevice(path: path, readOnly: false)
    device =
      flushMicroseconds == 0 ? file : SlowDevice(file, flushMicroseconds: flushMicroseconds)
    volume = try Self.mount(device, spaceCache)
    let id = try makeFile(Self.fileName)
    for group in 0..<UInt64(groups) {
      let start = group << 30
      for small in 0..<Self.smallCount {
        try volume.content.allocate(id, .plain, offset: start + small << 13, length: 4096)
      }
      // A part stays free.
      try volume.content.allocate(
        id, .plain, offset: start + Self.smallCount << 13, length: 1 << 30 - 64 << 20)
      if group % 512 == 511 { try volume.commit() }
    }
    try volume.commit()
  }

  private static func mount(
    _ device: any BlockDevice, _ spaceCache: VolumeOptions.SpaceCache
  ) throws -> Volume {
    var options = VolumeOptions()
    options.accessTimes = .noatime
    options.commitInterval = 3600
    options.spaceCache = spaceCache
    var logger = Logger(label: "core-bench")
    logger.logLevel = .error
    return try Volume.mount(device: device, options: options, logger: logger)
  }

  func makeFile(_ name: String) throws -> InodeID {
    try volume.namespace.createNode(
      Array(name.utf8), in: volume.rootDirectory, mode: 0o100644, Self.owner
    ).id
  }

  func end() throws { try volume.unmount() }

  private static func seconds(_ clock: clockid_t) -> Double {
    var time = timespec()
    clock_gettime(clock, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  private func changeGroups(_ count: Int) throws {
    let id = try volume.namespace.lookup(Array(Self.fileName.utf8), in: volume.rootDirectory).id
    for group in 0..<UInt64(count) {
      try volume.content.allocate(
        id, .punchHole, offset: group << 30 + freed << 13, length: 4096)
    }
    freed += 1
    precondition(freed <= Self.smallCount)
  }

  /// The mean of some commits.
  func commits(changing count: Int, rounds: Int) throws -> Cost {
    var cost = Cost(changed: count, cpu: 0, wall: 0, bytes: 0, early: 0)
    let before = counts
    for _ in 0..<rounds {
      try changeGroups(count)
      let (cpu, wall) = (Self.seconds(CLOCK_PROCESS_CPUTIME_ID), Self.seconds(CLOCK_MONOTONIC))
      try volume.commit()
      cost.cpu += (Self.seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu) / Double(rounds)
      cost.wall += (Self.seconds(CLOCK_MONOTONIC) - wall) / Double(rounds)
    }
    let after = counts
    cost.early = (after.bytesWrittenEarly - before.bytesWrittenEarly) / UInt64(rounds)
    let inside = (after.bytesWrittenInside - before.bytesWrittenInside) / UInt64(rounds)
    cost.bytes = cost.early + inside
    return cost
  }

  var counts: CacheFileCounts { (volume.record as? CacheFiles)?.counts ?? CacheFileCounts() }

  /// The CPU time of a commit of one new small file, in seconds, and how many tree blocks it writes.
  func newFileCommit(count: Int) throws -> (cpu: Double, blocks: Double) {
    let bytes = [UInt8](repeating: 5, count: 9000)
    let before = volume.committer.statistics.blocks
    var sum = 0.0
    for number in 0..<count {
      let id = try makeFile("new-\(number)")
      _ = try bytes.withUnsafeBytes { try volume.content.write(id, at: 0, $0) }
      let cpu = Self.seconds(CLOCK_PROCESS_CPUTIME_ID)
      try volume.synchronizeAll()
      sum += Self.seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu
    }
    let blocks = volume.committer.statistics.blocks - before
    return (sum / Double(count), Double(blocks) / Double(count))
  }

  /// How long operations of other threads take while a commit changes all groups: in seconds, ascending.
  func pauses(threads: Int) throws -> [Double] {
    let ids = try (0..<threads).map { try makeFile("beside-\($0)") }
    try volume.synchronizeAll()
    try changeGroups(groups)
    let isDone = Guarded(false, rank: .leaf)
    let latencies = Guarded<[Double]>([], rank: .leaf)
    let failures = Guarded<[String]>([], rank: .leaf)
    let volume = self.volume
    let workers = ids.map { id in
      BackgroundThread {
        let bytes = [UInt8](repeating: 9, count: 4096)
        var own: [Double] = []
        var number: UInt64 = 0
        do {
          while !isDone.withLock({ $0 }) {
            let start = monotonicSeconds()
            _ = try bytes.withUnsafeBytes {
              try volume.content.write(id, at: number % 256 * 4096, $0)
            }
            var changes = AttributeChanges()
            changes.mode = number % 2 == 0 ? 0o600 : 0o644
            _ = try volume.attributes.setAttributes(id, changes)
            own.append(monotonicSeconds() - start)
            number += 1
            usleep(100)
          }
        } catch {
          failures.withLock { $0.append("\(error)") }
        }
        latencies.withLock { $0 += own }
      }
    }
    try volume.commit()
    isDone.withLock { $0 = true }
    for worker in workers { worker.join() }
    if let failure = failures.withLock({ $0.first }) { throw TestFailure(failure) }
    return latencies.withLock { $0.sorted() }
  }

  /// The time that mounting takes, in seconds.
  func remount(_ spaceCache: VolumeOptions.SpaceCache = .v1) throws -> Double {
    try volume.unmount()
    let start = Self.seconds(CLOCK_MONOTONIC)
    volume = try Self.mount(device, spaceCache)
    return Self.seconds(CLOCK_MONOTONIC) - start
  }

  /// Fragments a group, and measures how long the first look for its free space after a mount takes:
  /// in its cache, and in the extent tree. CPU time in seconds.
  func loading() throws -> (cache: Double, scan: Double) {
    let id = try makeFile("fragments")
    // Twice as many sectors as holes, beside what else is in the image.
    let size: UInt64 = 512 << 20
    let bytes = [UInt8](repeating: 1, count: 4096)
    for offset in stride(from: 0, to: 2 * size, by: 8192) {
      _ = try bytes.withUnsafeBytes { try volume.content.write(id, at: offset, $0) }
    }
    try volume.synchronizeAll()
    for offset in stride(from: 0, to: 2 * size, by: 16384) {
      try volume.content.allocate(id, .punchHole, offset: offset, length: 4096)
    }
    // The first commit may leave a file as long as can be.
    for _ in 0..<2 {
      _ = try bytes.withUnsafeBytes { try volume.content.write(id, at: 0, $0) }
      try volume.synchronizeAll()
    }
    _ = try remount()
    let scan = ExtentTreeScan(extentTree: volume.trees.extent, geometry: volume.geometry)
    let all = try volume.space.groups.all.filter { $0.flags.contains(.data) && $0.isCacheable }
      .map { (start: $0.start, runs: try scan.freeSpace(of: $0).rangeCount) }
    guard let (start, runs) = all.max(by: { $0.runs < $1.runs }), runs > 10_000 else {
      throw BenchError(description: "no group is fragmented")
    }

    func measure(_ body: (BlockGroup) throws -> Bool) throws -> Double {
      var sum = 0.0
      for _ in 0..<3 {
        _ = try remount()
        let group = try volume.space.groups.group(containing: start)
        let cpu = Self.seconds(CLOCK_PROCESS_CPUTIME_ID)
        guard try body(group) else { throw BenchError(description: "no free space is found") }
        sum += Self.seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu
      }
      return sum / 3
    }
    let cache = try measure { group in
      if case .found = try volume.record.freeSpace(of: group) { true } else { false }
    }
    let scanned = try measure { group in
      let scan = ExtentTreeScan(extentTree: volume.trees.extent, geometry: volume.geometry)
      return try scan.freeSpace(of: group).rangeCount == runs
    }
    return (cache, scanned)
  }

  /// The time that the kernel's sync takes on the image, mounted with caches, in seconds.
  func kernelSync(changing count: Int, rounds: Int, in directory: TemporaryDirectory) throws
    -> [Double]
  {
    let mount = try LoopMount(path, at: directory.file("kernel"))
    let file = BytePath(mount.directory).appending(Self.fileName)
    let descriptor = try check("open") { file.withCPath { open($0, O_RDWR) } }
    var times: [Double] = []
    do {
      defer { close(descriptor) }
      let mode = Linux.fallocatePunchHole | Linux.fallocateKeepSize
      for round in 0..<rounds {
        for group in 0..<count {
          let small = Int(Self.smallCount) - 1 - round
          try check("punch") {
            Linux.fallocate(descriptor, mode, group << 30 + small << 13, 4096)
          }
        }
        let start = monotonicSeconds()
        try mount.sync()
        times.append(monotonicSeconds() - start)
      }
    }
    try mount.unmount()
    return times
  }
}

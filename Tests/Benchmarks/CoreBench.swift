import FSCore
import Glibc
import Logging
import TestSupport

/// Measures of the file system core on an image of its own.
final class CoreBench {
  private let device: FileDevice
  private var volume: Volume
  private(set) var rows: [(what: String, figure: String)] = []

  private static let owner = Credentials(uid: 0, gid: 0)

  private let record: MakeFilesystem.SpaceRecord
  private let image: String

  init(image: String, sizeBytes: UInt64, record: MakeFilesystem.SpaceRecord = .v1) throws {
    var options = MakeFilesystem.Options()
    options.sizeBytes = sizeBytes
    options.spaceRecord = record
    options.force = true
    self.record = record
    self.image = image
    _ = try MakeFilesystem.create(path: image, options: options)
    device = try FileDevice(path: image, readOnly: false)
    volume = try Self.mount(device)
  }

  private static func mount(_ device: FileDevice) throws -> Volume {
    var options = VolumeOptions()
    options.accessTimes = .noatime
    // None but those that are measured.
    options.commitInterval = 3600
    var logger = Logger(label: "core-bench")
    logger.logLevel = .error
    return try Volume.mount(device: device, options: options, logger: logger)
  }

  private func remount() throws {
    try volume.unmount()
    volume = try Self.mount(device)
  }

  func end() throws { try volume.unmount() }

  // Figures.

  private static func seconds(_ clock: clockid_t) -> Double {
    var time = timespec()
    clock_gettime(clock, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  /// Processor and wall time of `body` in seconds.
  private func timed(_ body: () throws -> Void) rethrows -> (cpu: Double, wall: Double) {
    let cpu = Self.seconds(CLOCK_PROCESS_CPUTIME_ID)
    let wall = Self.seconds(CLOCK_MONOTONIC)
    try body()
    return (
      Self.seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu, Self.seconds(CLOCK_MONOTONIC) - wall
    )
  }

  private func add(_ what: String, _ seconds: Double, per count: Int) {
    rows.append((what, figure(seconds / Double(count) * 1e6) + " µs"))
  }

  /// With two decimals where one says little.
  private func figure(_ value: Double) -> String {
    guard value > 0, value < 9.995 else { return rounded(value) }
    let hundredths = Int((value * 100).rounded())
    return "\(hundredths / 100).\(hundredths / 10 % 10)\(hundredths % 10)"
  }

  // What is measured.

  private func name(_ number: Int) -> [UInt8] { Array("file-\(number)".utf8) }

  func names(count: Int) throws {
    let directory = try volume.namespace.makeDirectory(
      Array("names".utf8), in: volume.rootDirectory, mode: 0o755, Self.owner
    ).id
    let names = (0..<count).map(name)

    let create = try timed {
      for name in names {
        _ = try volume.namespace.createNode(name, in: directory, mode: 0o100644, Self.owner)
      }
      try volume.commit()
    }
    add("create an empty file, with its share of one commit, CPU", create.cpu, per: count)

    let lookup = try timed {
      for name in names { _ = try volume.namespace.lookup(name, in: directory) }
    }
    add("lookup, cached, CPU", lookup.cpu, per: count)
    try parallelLookups(names, in: directory)

    try remount()
    try list(directory, count, "readdir, names, from the image, CPU", repetitions: 1)
    try list(directory, count, "readdir, names, cached, CPU")
    for name in names { _ = try volume.namespace.lookup(name, in: directory) }
    try list(directory, count, "readdir with attributes, inodes in memory, CPU", attributes: true)
    try remount()
    try list(
      directory, count, "readdir with attributes, from the image, CPU", attributes: true,
      repetitions: 1)
    try list(directory, count, "readdir with attributes, from cached trees, CPU", attributes: true)
  }

  /// By wall time: what two threads have to wait for each other counts.
  private func parallelLookups(_ names: [[UInt8]], in directory: InodeID) throws {
    let namespace = volume.namespace
    let passes = max(1, 400_000 / names.count)

    // Each thread begins elsewhere and goes its own way round.
    func rate(threads: Int) throws -> Double {
      let failures = Guarded<[String]>([], rank: .leaf)
      let start = monotonicSeconds()
      let workers = (0..<threads).map { thread in
        BackgroundThread {
          do {
            for pass in 0..<passes {
              let first = (thread * names.count / threads + pass * 7919) % names.count
              for part in [first..<names.count, 0..<first] {
                for name in names[part] { _ = try namespace.lookup(name, in: directory) }
              }
            }
          } catch {
            failures.withLock { $0.append("\(error)") }
          }
        }
      }
      for worker in workers { worker.join() }
      let seconds = monotonicSeconds() - start
      if let failure = failures.withLock({ $0.first }) { throw TestFailure(failure) }
      return Double(threads * passes * names.count) / seconds
    }

    // In turns, as a machine's speed changes from moment to moment.
    var ratios: [Double] = []
    for _ in 0..<5 {
      let alone = try rate(threads: 1)
      ratios.append(try rate(threads: 2) / alone)
    }
    rows.append(("lookups by 2 threads, of those by one", figure(ratios.median ?? 0) + " times"))
  }

  private func list(
    _ directory: InodeID, _ count: Int, _ what: String, attributes: Bool = false,
    repetitions: Int = 5
  ) throws {
    let time = try timed {
      for _ in 0..<repetitions {
        var cookie: UInt64 = 0
        var shown = 0
        while true {
          // As much as one request of the kernel's asks for.
          var left = attributes ? 190 : 800
          let before = cookie
          try volume.namespace.readDirectory(
            directory, from: cookie, expecting: left, withAttributes: attributes
          ) { record in
            guard left > 0 else { return false }
            left -= 1
            shown += 1
            cookie = record.nextCookie
            return true
          }
          if cookie == before { break }
        }
        guard shown == count + 2 else { throw TestFailure("\(shown) entries of \(count)") }
      }
    }
    add(what, time.cpu, per: count * repetitions)
  }

  private func file(_ name: String) throws -> InodeID {
    try volume.namespace.createNode(
      Array(name.utf8), in: volume.rootDirectory, mode: 0o100644, Self.owner
    ).id
  }

  private func write(_ id: InodeID, _ count: Int, at offset: Int, _ bytes: [UInt8]) throws {
    let written = try bytes.withUnsafeBytes {
      try volume.content.write(
        id, at: UInt64(offset), UnsafeRawBufferPointer(rebasing: $0[..<count]))
    }
    guard written == count else { throw TestFailure("a write of \(count) writes \(written)") }
  }

  private func pattern(_ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 8) }
  }

  /// The data come from the page cache of the image's own file system, checksums are verified.
  func smallReads(count: Int) throws {
    let id = try file("small")
    let blocks = 1024
    try write(id, blocks * 4096, at: 0, pattern(blocks * 4096))
    try volume.synchronizeAll()
    let buffer = AlignedBuffer(count: 4096)
    var random = SeededRandom(seed: 1)
    let offsets = (0..<count).map { _ in UInt64(random.below(blocks) * 4096) }
    let time = try timed {
      for offset in offsets {
        guard try volume.content.read(id, at: offset, into: buffer.bytes) == 4096 else {
          throw TestFailure("a short read")
        }
      }
    }
    add("read 4 KiB, verified, CPU", time.cpu, per: count)

    let plain = try PlainFile(image + ".plain", megabytes: blocks >> 8, pattern(1 << 20))
    var sum = UInt32(0)
    let alone = try timed {
      for offset in offsets {
        try plain.read(buffer.bytes, at: Int(offset))
        withUnsafeMutableBytes(of: &sum) { ChecksumType.crc32c.compute(buffer.readable, into: $0) }
      }
    }
    add("… pread(2) and crc32c alone, CPU", alone.cpu, per: count)
  }

  func sequentialRead(megabytes: Int) throws {
    let id = try file("large")
    let bytes = pattern(1 << 20)
    for megabyte in 0..<megabytes { try write(id, 1 << 20, at: megabyte << 20, bytes) }
    try remount()
    let buffer = AlignedBuffer(count: 1 << 20)
    func rate(_ readMegabyte: (Int) throws -> Void) rethrows -> Double {
      let time = try timed { for megabyte in 0..<megabytes { try readMegabyte(megabyte) } }
      return Double(megabytes << 20) / time.wall / 1e9
    }
    func read(_ megabyte: Int) throws {
      let count = try volume.content.read(id, at: UInt64(megabyte) << 20, into: buffer.bytes)
      guard count == 1 << 20 else { throw TestFailure("a short read") }
    }
    rows.append(("sequential read, 1 MiB, verified", figure(try rate(read)) + " GB/s"))

    // When a page of the image is read for the first time its own file system has work to do with it,
    // which has nothing to do with us.
    var again: [Double] = []
    var alone: [Double] = []
    let plain = try PlainFile(image + ".plain", megabytes: megabytes, bytes)
    for _ in 0..<5 {
      again.append(try rate(read))
      alone.append(try rate { try plain.read(buffer.bytes, at: $0 << 20) })
    }
    rows.append(("… again", figure(again.median ?? 0) + " GB/s"))
    rows.append(("… pread(2) alone", figure(alone.median ?? 0) + " GB/s"))
  }

  /// Of as much as one read has, in the processor's cache as far as it has room.
  func checksums(megabytes: Int) throws {
    let bytes = AlignedBuffer(count: 1 << 20)
    pattern(bytes.count).withUnsafeBytes { bytes.bytes.copyMemory(from: $0) }
    let sectors = bytes.count / 4096
    var sums = [UInt8](repeating: 0, count: sectors * ChecksumType.crc32c.size)
    let time = timed {
      for _ in 0..<megabytes {
        sums.withUnsafeMutableBytes {
          ChecksumType.crc32c.computeEach(of: 4096, in: bytes.readable, into: $0)
        }
      }
    }
    let rate = Double(megabytes << 20) / time.cpu / 1e9
    rows.append(("crc32c of sectors of 4 KiB, CPU", rounded(rate) + " GB/s"))
  }

  func smallCommits(count: Int) throws {
    let id = try file("synced")
    let bytes = pattern(4096)
    let time = try timed {
      for number in 0..<count {
        try write(id, 4096, at: number % 256 * 4096, bytes)
        try volume.content.synchronize(id, dataOnly: false)
      }
    }
    add("write 4 KiB and synchronize, CPU", time.cpu, per: count)
    add("write 4 KiB and synchronize, wall", time.wall, per: count)
  }

  /// Commits that change the free space of every block group, against ones that change one's.
  func groupCommits(groups: Int) throws {
    let id = try file("groups")
    let rounds = 20
    let smallCount = UInt64(2 * rounds)
    // Each GiB begins with extents that can be freed one by one; the rest is a few large ones.
    for group in 0..<UInt64(groups) {
      let start = group << 30
      for small in 0..<smallCount {
        try volume.content.allocate(id, .plain, offset: start + small << 13, length: 4096)
      }
      try volume.content.allocate(
        id, .plain, offset: start + smallCount << 13, length: 1 << 30 - smallCount << 12)
    }
    try volume.commit()

    func time(_ changed: Int, from first: Int) throws -> (cpu: Double, wall: Double) {
      var sum = (cpu: 0.0, wall: 0.0)
      for round in 0..<rounds {
        for group in 0..<UInt64(changed) {
          let offset = group << 30 + UInt64(first + round) << 13
          try volume.content.allocate(id, .punchHole, offset: offset, length: 4096)
        }
        let before = changes()
        let one = try timed { try volume.commit() }
        let after = changes()
        let count = before.keys.count { before[$0] != after[$0] }
        guard count >= changed else {
          throw BenchError(description: "a commit changed \(count) groups, not \(changed)")
        }
        sum = (sum.cpu + one.cpu, sum.wall + one.wall)
      }
      return sum
    }
    let few = try time(1, from: 0)
    let all = try time(groups, from: rounds)
    let extra = rounds * max(groups - 1, 1)
    let what = "commit: each more changed group of 1 GiB, \(record.rawValue)"
    add(what + ", CPU", all.cpu - few.cpu, per: extra)
    add(what + ", wall", all.wall - few.wall, per: extra)
  }

  /// How often the set of used bytes has changed in each block group.
  private func changes() -> [LogicalAddress: UInt64] {
    Dictionary(
      uniqueKeysWithValues: volume.space.groups.all.map { ($0.start, $0.moment.changeCount) })
  }
}

/// A file beside the image, read without a file system of ours: what is left when all that we do is
/// taken away.
private struct PlainFile: ~Copyable {
  private let descriptor: Int32
  private let path: String

  init(_ path: String, megabytes: Int, _ bytes: [UInt8]) throws {
    self.path = path
    descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw TestFailure("cannot make \(path)") }
    for megabyte in 0..<megabytes {
      guard pwrite(descriptor, bytes, bytes.count, off_t(megabyte << 20)) == bytes.count else {
        throw TestFailure("cannot write \(path)")
      }
    }
  }

  deinit {
    close(descriptor)
    unlink(path)
  }

  func read(_ target: UnsafeMutableRawBufferPointer, at offset: Int) throws {
    guard pread(descriptor, target.baseAddress, target.count, off_t(offset)) == target.count else {
      throw TestFailure("a short read")
    }
  }
}

struct BenchError: Error, CustomStringConvertible { let description: String }

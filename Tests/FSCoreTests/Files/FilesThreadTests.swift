import Glibc
import TestSupport
import Testing

@testable import FSCore

/// Many threads on few files.
@Suite(.timeLimit(.minutes(10))) struct FilesThreadTests {
  /// A file that grows at any moment of its write-back has its size after the next mount.
  @Test func aSizeSetDuringWriteBackIsKept() throws {
    let device = try TestImage.make()
    let volume = try Volume.mountForTest(device)
    var sizes: [UInt64] = []
    print("sizes set during write-back, seed 5")
    var random = SeededRandom(testSeed: 5)
    for number in 0..<300 as Range<UInt64> {
      let id = try volume.makeFile("/f\(number)")
      try volume.writeBytes(id, at: 0, [UInt8](repeating: 7, count: 300_000))
      let flusher = BackgroundThread { volume.files.flushAll() }
      usleep(random.below(3000))
      var changes = AttributeChanges()
      changes.size = 1_000_000 + number
      _ = try volume.attributes.setAttributes(id, changes)
      sizes.append(1_000_000 + number)
      flusher.join()
    }
    try volume.unmount()

    let after = try Volume.mountForTest(device)
    let found = try (0..<300).map {
      try after.attributes.attributes(of: after.find("/f\($0)")).item.size
    }
    #expect(found == sizes)
    try after.unmount()
  }

  /// Every write fills whole sectors with a number of its own, so each sector that is read is
  /// one write's, or zero: never of two, never of another file.
  @Test(arguments: [UInt64(1), 2, 3])
  func sectorsAreWhole(seed: UInt64) throws {
    print("threads on files: seed \(seed)")
    let directory = try TemporaryDirectory(inMemory: true)
    let image = directory.file("image")
    try FilesModelTests.make(image, FilesModelTests.Variant(name: "threads", seed: seed))

    do {
      let volume = try FilesModelTests.mount(image)
      let files = try (0..<3).map { try volume.makeFile("/f\($0)") }
      let failures = Guarded<[String]>([], rank: .leaf)
      let threads = (0..<4).map { number in
        BackgroundThread {
          var worker = Worker(volume: volume, files: files, number: UInt64(number), seed: seed)
          do {
            for _ in 0..<1500 { try worker.step() }
          } catch {
            failures.withLock { $0.append("\(error)") }
          }
        }
      }
      let flusher = BackgroundFlusher(volume)
      for thread in threads { thread.join() }
      flusher.stop()
      #expect(failures.withLock { $0 } == [])

      var worker = Worker(volume: volume, files: files, number: 9, seed: seed)
      for index in files.indices { try worker.readAll(index) }
      try volume.unmount()
    }
    try ImageCheck.expectSound(image)
  }

  private struct Worker {
    let volume: Volume
    let files: [InodeID]
    let number: UInt64
    var random: SeededRandom
    var stamp: UInt64 = 0

    init(volume: Volume, files: [InodeID], number: UInt64, seed: UInt64) {
      self.volume = volume
      self.files = files
      self.number = number
      random = SeededRandom(testSeed: seed * 100 + number)
    }

    static let sectors: UInt64 = 300

    mutating func step() throws {
      let index = random.below(files.count)
      let id = files[index]
      let first = random.below(Self.sectors)
      let count: UInt64 = 1 + random.below(40)
      switch random.below(16) {
      case 0...6: try write(index, first, count)
      case 7...10: try read(index, first, count)
      case 11:
        var changes = AttributeChanges()
        changes.size = first * 4096
        _ = try volume.attributes.setAttributes(id, changes)
      case 12:
        try volume.content.allocate(id, .punchHole, offset: first * 4096, length: count * 4096)
      case 13: try volume.content.allocate(id, .plain, offset: first * 4096, length: count * 4096)
      case 14:
        try volume.content.allocate(id, .zeroRange, offset: first * 4096, length: count * 4096)
      default: try volume.content.synchronize(id, dataOnly: true)
      }
    }

    private mutating func write(_ index: Int, _ first: UInt64, _ count: UInt64) throws {
      stamp += 1
      let value = UInt64(index + 1) << 56 | number << 48 | stamp
      let words = [UInt64](repeating: value, count: Int(count) * 512)
      let done = try words.withUnsafeBytes {
        try volume.content.write(files[index], at: first * 4096, $0)
      }
      guard done == Int(count) * 4096 else { throw TestFailure("a short write") }
    }

    mutating func readAll(_ index: Int) throws { try read(index, 0, Self.sectors + 100) }

    private mutating func read(_ index: Int, _ first: UInt64, _ count: UInt64) throws {
      var words = [UInt64](repeating: 0, count: Int(count) * 512)
      let done = try words.withUnsafeMutableBytes {
        try volume.content.read(files[index], at: first * 4096, into: $0)
      }
      for sector in 0..<(done / 4096) {
        let value = words[sector * 512]
        guard value == 0 || value >> 56 == UInt64(index + 1) else {
          throw TestFailure("file \(index) has \(String(value, radix: 16))")
        }
        for word in words[(sector * 512)..<((sector + 1) * 512)] where word != value {
          throw TestFailure("a sector of two writes in file \(index)")
        }
      }
    }
  }
}

import TestSupport
import Testing

@testable import FSCore

/// Many threads on one volume: they create, write, read, rename and remove in shared directories
/// while another commits. Meant for the thread sanitizer too.
@Suite(.timeLimit(.minutes(10))) struct VolumeThreadTests {
  private static let directoryCount: UInt64 = 3
  private static let nameCount: UInt64 = 20

  @Test(arguments: [UInt64(1), 2])
  func sharedDirectoriesAndFiles(seed: UInt64) throws {
    print("volume threads: seed \(seed)")
    let device = try TestImage.make(sizeBytes: 4 << 30)
    let volume = try Volume.mountForTest(device) { $0.cacheBytes = 16 << 20 }
    for number in 0..<Self.directoryCount { try volume.makeDirectory("/d\(number)") }

    let failures = Guarded<[String]>([], rank: .leaf)
    let isOver = Guarded(false, rank: .leaf)
    let committer = BackgroundThread {
      while !isOver.withLock({ $0 }) {
        do throws(FilesystemError) {
          try volume.synchronizeAll()
        } catch {
          failures.withLock { $0.append("commit: \(error)") }
          return
        }
      }
    }
    let threads = (0..<6).map { number in
      BackgroundThread {
        var random = SeededRandom(testSeed: seed &* 100 &+ UInt64(number))
        for _ in 0..<250 {
          do {
            try Self.step(volume, &random)
          } catch let error as FilesystemError where Self.isExpected(error) {
            // Another thread was faster.
          } catch {
            failures.withLock { $0.append("thread \(number): \(error)") }
          }
        }
      }
    }
    for thread in threads { thread.join() }
    isOver.withLock { $0 = true }
    committer.join()
    #expect(failures.withLock { $0 } == [])

    let lines = try volume.stateLines()
    try volume.unmount()
    let again = try Volume.mountForTest(device)
    #expect(try again.stateLines() == lines)
    try again.unmount()
    try CacheJudge.judge(device)
  }

  private static func isExpected(_ error: FilesystemError) -> Bool {
    switch error {
    case .notFound, .exists, .stale: true
    default: false
    }
  }

  private static func step(_ volume: Volume, _ random: inout SeededRandom) throws {
    let path = name(&random)
    switch random.below(10) {
    case 0: try volume.remove(path)
    case 1, 2: try volume.move(path, to: name(&random))
    case 3, 4, 5:
      let id = try (try? volume.find(path)) ?? volume.makeFile(path)
      // Every sector says which inode and offset it belongs to.
      let sector: UInt64 = random.below(60)
      let count = Int(random.below(20)) + 1
      var bytes: [UInt8] = []
      for index in 0..<count { bytes += content(id, sector + UInt64(index)) }
      try volume.writeBytes(id, at: sector * 4096, bytes)
    case 6:
      var changes = AttributeChanges()
      changes.size = random.below(60) * 4096
      _ = try volume.attributes.setAttributes(volume.find(path), changes)
    default:
      let id = try volume.find(path)
      let sector: UInt64 = random.below(60)
      let bytes = try volume.readBytes(id, at: sector * 4096, count: 4096)
      let zeros = [UInt8](repeating: 0, count: bytes.count)
      let expected = Array(content(id, sector).prefix(bytes.count))
      if bytes != expected, bytes != zeros {
        throw FilesystemError.corrupt("inode \(id) sector \(sector) has foreign bytes")
      }
    }
  }

  private static func name(_ random: inout SeededRandom) -> String {
    "/d\(random.below(directoryCount))/f\(random.below(nameCount))"
  }

  private static func content(_ id: InodeID, _ sector: UInt64) -> [UInt8] {
    var mixed = SeededRandom(testSeed: id.number.rawValue &* 1000 &+ sector)
    var bytes: [UInt8] = []
    while bytes.count < 4096 {
      let number = mixed.next()
      for shift in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: number >> (shift * 8))) }
    }
    return bytes
  }
}

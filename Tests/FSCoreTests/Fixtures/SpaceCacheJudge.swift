import Glibc
import TestSupport
import Testing

@testable import FSCore

/// Judges the free space caches of an image: by our own survey, which reads the image without
/// any of the code that wrote it, and by `btrfs check`.
enum CacheJudge {
  struct Findings {
    var valid: [LogicalAddress] = []
    /// Disowned, or of a group that has none.
    var others: [LogicalAddress] = []
  }

  /// Expects every cache that would be believed to be exact, and that every group with extents
  /// and a cacheable length has one, but for those in `without`.
  @discardableResult
  static func judge(
    _ device: any BlockDevice, without: Set<LogicalAddress> = [], _ comment: Comment? = nil
  ) throws -> Findings {
    let reader = try ImageReader(device: device)
    let survey = CacheSurvey(reader)
    #expect(survey.generalDoubt == nil, comment)
    var findings = Findings()
    for chunk in reader.chunks {
      let group = survey.survey(chunk, verify: true)
      // The file of a disowned cache was perhaps never written; no mount would believe it.
      #expect(group.verdict != .wrong && group.verdict != .stale, comment)
      if group.verdict == .valid {
        #expect(group.isWhole && group.comparison?.agrees == true, comment)
        findings.valid.append(chunk.start)
      } else {
        findings.others.append(chunk.start)
        let mustHaveOne =
          chunk.length >= Format.smallestCachedGroup && group.used > 0
          && !without.contains(chunk.start)
        #expect(!mustHaveOne, "group \(chunk.start): \(group.reasons)")
      }
    }
    #expect(reader.problems.isEmpty || !without.isEmpty)
    return findings
  }

  /// Expects `btrfs check` to be content, with the caches too.
  static func check(_ device: MemoryDevice) throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("image")
    try device.save(to: path)
    try ImageCheck.expectSound(path)
  }
}

extension MemoryDevice {
  /// Writes the image to a file; what was never written becomes a hole.
  func save(to path: String) throws {
    let descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC, 0o600)
    defer { close(descriptor) }
    guard descriptor >= 0, ftruncate(descriptor, Int(sizeBytes)) == 0 else {
      throw TestFailure("\(path): \(errno)")
    }
    var failure: Int32?
    forEachPiece { address, bytes in
      if pwrite(descriptor, bytes.baseAddress!, bytes.count, Int(address.rawValue)) != bytes.count {
        failure = errno
      }
    }
    if let failure { throw TestFailure("\(path): \(failure)") }
  }
}

extension Volume {
  /// Leaves a free sector between every two used ones over `count` sectors: more ranges than
  /// entries fit a small cache file.
  func fragment(_ path: String, holes count: UInt64) throws {
    let id = try makeFile(path)
    // Pieces with holes between them are extents of their own, side by side on the device.
    let piece = [UInt8](repeating: 3, count: 4096)
    for number in 0..<2 * count { try writeBytes(id, at: number * 8192, piece) }
    try synchronizeAll()
    for number in 0..<count {
      try content.allocate(id, .punchHole, offset: number * 16384, length: 4096)
    }
  }
}

/// A workload that uses space in all ways: files of many sizes grow, shrink, go and come.
struct SpaceWorkload {
  let volume: Volume
  var random: SeededRandom
  var files: [InodeID: String] = [:]
  private var count = 0

  init(_ volume: Volume, seed: UInt64) {
    self.volume = volume
    random = SeededRandom(testSeed: seed)
  }

  mutating func step() throws {
    switch random.below(10) {
    case 0...4:
      count += 1
      let path = "/file\(count)-\(random.below(1 << 32))"
      let id = try volume.makeFile(path)
      files[id] = path
      try write(id, at: 0, maximum: 1 << 20)
    case 5...6:
      guard let id = pick() else { return }
      try write(id, at: random.below(256) * 4096, maximum: 300_000)
    case 7:
      guard let id = pick() else { return }
      var changes = AttributeChanges()
      changes.size = random.below(400_000)
      _ = try volume.attributes.setAttributes(id, changes)
    default:
      guard let id = pick(), let path = files[id] else { return }
      try volume.remove(path)
      files[id] = nil
    }
  }

  /// A dictionary has another order in each process.
  private mutating func pick() -> InodeID? { files.keys.sorted().randomElement(using: &random) }

  private mutating func write(_ id: InodeID, at offset: UInt64, maximum: UInt64) throws {
    let length = Int(1 + random.below(random.below(3) == 0 ? maximum : 9000))
    let byte = UInt8(truncatingIfNeeded: random.next())
    try volume.writeBytes(id, at: offset, [UInt8](repeating: byte, count: length))
  }
}

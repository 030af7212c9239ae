import Glibc
import TestSupport
import Testing

@testable import FSCore

/// The same operations by Linux on one image and by us on its twin, clones above all; the sides swap
/// images each round. What is refused, the content of all files, and both images must agree.
@Suite(
  .enabled(if: isRoot && Shell.find("mkfs.btrfs") != nil, "SKIPPED: needs root, for loop mounts"),
  .timeLimit(.minutes(10)))
struct CloneTurnsTests {
  struct Variant: Sendable, CustomTestStringConvertible {
    var name: String
    var seed: UInt64
    var format: [String] = []
    var options = "noatime"
    var testDescription: String { name }
  }

  static let variants = [
    Variant(name: "default", seed: 431),
    Variant(name: "compressed", seed: 432, options: "noatime,compress-force=zstd"),
    Variant(
      name: "4 KiB nodes, holes with items", seed: 433,
      format: ["-n", "4096", "-O", "^no-holes", "-R", "^free-space-tree"],
      options: "noatime,space_cache=v1"),
    Variant(
      name: "compressed, mixed", seed: 434, format: ["-M"], options: "noatime,compress-force=lzo"),
  ]

  enum Change: CustomStringConvertible {
    case write(Int, UInt64, [UInt8])
    case truncate(Int, UInt64)
    case punch(Int, UInt64, UInt64)
    case allocate(Int, UInt64, UInt64)
    case clone(Int, UInt64, Int, UInt64, UInt64)
    case synchronize

    var description: String {
      switch self {
      case .write(let file, let offset, let bytes): "write \(file) \(offset) +\(bytes.count)"
      case .truncate(let file, let size): "truncate \(file) to \(size)"
      case .punch(let file, let offset, let length): "punch \(file) \(offset) +\(length)"
      case .allocate(let file, let offset, let length): "allocate \(file) \(offset) +\(length)"
      case .clone(let source, let from, let target, let to, let length):
        "clone \(source) \(from) +\(length) to \(target) \(to)"
      case .synchronize: "synchronize"
      }
    }
  }

  static let files = (0..<4).map { "/f\($0)" } + (0..<3).map { "/v/f\($0)" } + ["/c0", "/c1"]

  @Test(arguments: variants) func turns(variant: Variant) throws {
    print("clones beside Linux's, \(variant.name), seed \(TestSeed.of(variant.seed))")
    var random = SeededRandom(testSeed: variant.seed)
    let directory = try TemporaryDirectory(inMemory: true)
    let images = [directory.file("a"), directory.file("b")]
    try Shell.run("truncate", "-s", "1G", images[0]).orThrow()
    try Shell.run(["mkfs.btrfs", "-q"] + variant.format + [images[0]]).orThrow()
    let mount = try LoopMount(
      images[0], at: try directory.directory("mount"), options: variant.options)
    let script = """
      cd "$1"; btrfs -q subvolume create v; touch c0 c1; chattr +C c0 c1
      touch f0 f1 f2 f3 v/f0 v/f1 v/f2
      """
    try Shell.run("bash", "-c", script, "bash", mount.directory).orThrow()
    try mount.unmount()
    try Shell.run("cp", "--sparse=always", images[0], images[1]).orThrow()

    var (done, refused) = (0, 0)
    for round in 0..<(TestSeed.isThorough ? 40 : 8) {
      let changes = (0..<80).map { _ in Self.change(&random) }
      let linux = try Self.byLinux(
        changes, images[round % 2], directory.file("mount"), variant.options)
      let ours = try Self.byUs(changes, images[(round + 1) % 2])
      for (index, (one, other)) in zip(linux, ours).enumerated() where one != other {
        let before = Array(zip(changes, linux))[..<index].suffix(30).map { "\($0.0): \($0.1)" }
        throw TestFailure(
          "round \(round), \(changes[index]): \(one) by Linux, \(other) by us; before:\n"
            + before.joined(separator: "\n"))
      }
      for (change, error) in zip(changes, linux) {
        guard case .clone = change else { continue }
        if error == 0 { done += 1 } else { refused += 1 }
      }
      let isV2 = !variant.format.contains("^free-space-tree")
      let lines = try images.map { image in
        try ImageCheck.expectSound(image)
        return try KernelState.lines(of: image, in: directory, hasFreeSpaceTree: isV2)
      }
      #expect(lines[0] == lines[1], "round \(round)")
    }
    #expect(done > 60 && refused > 20)
  }

  static func change(_ random: inout SeededRandom) -> Change {
    let file = random.below(files.count)
    func offset() -> UInt64 {
      let offset: UInt64 = random.oneIn(4) ? 0 : random.below(300_000)
      return random.oneIn(6) ? offset : offset.roundedDown(to: 4096)
    }
    func length() -> UInt64 {
      let length: UInt64 = 1 + random.below(random.oneIn(3) ? 150_000 : 12_000)
      return random.oneIn(6) ? length : length.roundedUp(to: 4096)
    }
    switch random.below(16) {
    case 0, 1, 2:
      let count = random.oneIn(4) ? 1 + random.below(2000) : 1 + random.below(60_000)
      let unit = random.bytes(1 + random.below(40))
      let bytes =
        random.oneIn(3)
        ? random.bytes(count) : (0..<count).map { unit[$0 % unit.count] | 1 }
      return .write(file, random.oneIn(2) ? 0 : random.below(200_000), bytes)
    case 3: return .truncate(file, random.oneIn(3) ? 0 : random.below(300_000))
    case 4: return .punch(file, offset(), length())
    case 5: return .allocate(file, offset(), length())
    case 6: return .synchronize
    default:
      let isWhole = random.oneIn(3)
      return .clone(
        random.below(files.count), isWhole ? 0 : offset(), file,
        isWhole && random.oneIn(2) ? 0 : offset(), random.oneIn(3) ? 0 : length())
    }
  }

  /// The error number of each change.
  static func byLinux(
    _ changes: [Change], _ image: String, _ mountPoint: String, _ options: String
  ) throws -> [Int32] {
    let mount = try LoopMount(image, at: mountPoint, options: options)
    defer { try? mount.unmount() }
    let descriptors = try files.map { name in
      try check("open \(name)") { open(mount.directory + name, O_RDWR) }
    }
    defer { for descriptor in descriptors { close(descriptor) } }
    func result(_ status: Int) -> Int32 { status < 0 ? errno : 0 }
    let errors: [Int32] = changes.map { change in
      switch change {
      case .write(let file, let offset, let bytes):
        return result(pwrite(descriptors[file], bytes, bytes.count, Int(offset)))
      case .truncate(let file, let size):
        return result(Int(ftruncate(descriptors[file], Int(size))))
      case .punch(let file, let offset, let length):
        return result(Int(Linux.fallocate(descriptors[file], 3, Int(offset), Int(length))))
      case .allocate(let file, let offset, let length):
        return result(Int(Linux.fallocate(descriptors[file], 0, Int(offset), Int(length))))
      case .clone(let source, let from, let target, let to, let length):
        return Linux.cloneRange(
          descriptors[source], at: from, to: descriptors[target], at: to, length: length)
      case .synchronize: return result(Int(Linux.syncfs(descriptors[0])))
      }
    }
    for descriptor in descriptors { fsync(descriptor) }
    return errors
  }

  static func byUs(_ changes: [Change], _ image: String) throws -> [Int32] {
    let volume = try FilesModelTests.mount(image)
    let ids = try files.map { try volume.find($0) }
    let errors = changes.map { change in
      errorNumber {
        switch change {
        case .write(let file, let offset, let bytes):
          try volume.writeBytes(ids[file], at: offset, bytes)
        case .truncate(let file, let size):
          var changes = AttributeChanges()
          changes.size = size
          _ = try volume.attributes.setAttributes(ids[file], changes)
        case .punch(let file, let offset, let length):
          try volume.content.allocate(ids[file], .punchHole, offset: offset, length: length)
        case .allocate(let file, let offset, let length):
          try volume.content.allocate(ids[file], .plain, offset: offset, length: length)
        case .clone(let source, let from, let target, let to, let length):
          try volume.cloneAll(
            ids[source], from: from, to: ids[target], at: to, length: length == 0 ? nil : length)
        case .synchronize: try volume.synchronizeAll()
        }
      }
    }
    try volume.unmount()
    return errors
  }
}

import Glibc
import TestSupport
import Testing

extension Trait where Self == ConditionTrait {
  /// The kernel's loop mounts are root's. Others see these tests skipped, and counted.
  static var needsRoot: Self {
    .enabled(if: isRoot, "SKIPPED: needs root, for loop mounts by the kernel")
  }

  /// Root always runs these tests; others where FUSE can be used without being root.
  static var needsFuse: Self {
    .enabled(
      if: isRoot || (access("/dev/fuse", R_OK | W_OK) == 0 && Shell.find("fusermount3") != nil),
      "SKIPPED: needs /dev/fuse and fusermount3")
  }
}

extension Trait where Self == ConditionTrait {
  /// Tests in which root lets an ordinary user mount.
  static var needsFuseForAll: Self {
    var status = stat()
    let isOpen = stat("/dev/fuse", &status) == 0 && status.st_mode & 0o006 == 0o006
    return .enabled(
      if: isOpen && Shell.find("fusermount3") != nil,
      "SKIPPED: needs fusermount3, and a /dev/fuse that everybody may open")
  }

  /// For what an older kernel does not do.
  static func needsLinux(_ major: Int, _ minor: Int) -> Self {
    let release = readText("/proc/sys/kernel/osrelease")
    let numbers = release.split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
    let isNew = numbers.count == 2 && (numbers[0], numbers[1]) >= (major, minor)
    return .enabled(if: isNew, "SKIPPED: needs Linux \(major).\(minor)")
  }
}

/// All tests that mount: one at a time, for they measure time, count requests, empty the kernel's memory and
/// read its log, and programs that one of them starts have the files open that another one has.
@Suite(.serialized, .timeLimit(.minutes(20))) enum MountTests {}

/// One image and one mount point, gone when the test ends.
final class Scratch {
  let directory: TemporaryDirectory
  let image: String
  let mountPoint: String

  /// - Parameter image: one that exists already, and stays; without it, one to be made.
  init(image: String? = nil) throws {
    directory = try TemporaryDirectory(inMemory: true)
    self.image = image ?? directory.file("image")
    mountPoint = try directory.directory("mount")
  }

  var root: BytePath { BytePath(mountPoint) }

  func make(_ options: String...) throws {
    try FsmountProgram.run(["mkfs", "--force"] + options + [image]).orThrow()
  }

  func mount(
    _ options: String = "", lifetime: Double = 120, faults: DaemonFaults = []
  ) throws -> FsmountMount {
    try FsmountMount(
      image, at: mountPoint, options: options, lifetime: lifetime, faults: faults)
  }

  func mountByKernel(_ options: String = LoopMount.kernelOptions) throws -> LoopMount {
    try LoopMount(image, at: mountPoint, options: options)
  }

  /// The image is sound by `btrfs check`, and its caches by our own inspection.
  func expectSound() throws {
    try ImageCheck.expectSound(image)
    try FsmountProgram.verifyCache(image)
  }

  func work(seed: UInt64, operations: Int) throws {
    var options = SequenceOptions(seed: TestSeed.of(seed))
    options.operations = operations
    try OperationSequence(root: root, options: options).run()
  }

  /// Of every byte of the image.
  func imageDigest() throws -> String { try Shell.run("md5sum", image).orThrow().output }

  func snapshot() throws -> TreeSnapshot { try TreeSnapshot(root) }

  /// A file whose contents say themselves what they must be.
  func write(_ name: String, seed: UInt64, length: Int) throws {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: length, alignment: 4096)
    defer { buffer.deallocate() }
    try SelfVerifyingFile.write(
      root.appending(name), seed: TestSeed.of(seed), length: length, buffer: buffer)
  }

  /// False when there is no such file; throws when its contents are wrong.
  func holds(_ name: String) throws -> Bool {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 8 << 20, alignment: 4096)
    defer { buffer.deallocate() }
    return try SelfVerifyingFile.verify(root.appending(name), buffer: buffer)
  }

  /// In nanoseconds.
  func accessTime(_ name: String) throws -> Int {
    var status = stat()
    let path = root.appending(name)
    try check("lstat \(path)") { path.withCPath { lstat($0, &status) } }
    return status.st_atim.tv_sec * 1_000_000_000 + status.st_atim.tv_nsec
  }

  func sync(_ name: String) throws {
    let path = root.appending(name)
    let descriptor = try check("open \(path)") { path.withCPath { open($0, O_RDONLY) } }
    defer { close(descriptor) }
    try check("fsync \(path)") { fsync(descriptor) }
  }
}

/// A refusal as a person wants it: no success, no crash, no hang, and few words that name the
/// matter.
func expectRefusal(
  _ result: CommandResult, naming words: String..., location: SourceLocation = #_sourceLocation
) {
  #expect(result.status != nil, "it hangs: \(result.summary)", sourceLocation: location)
  #expect(result.status != 0, "it succeeds: \(result.summary)", sourceLocation: location)
  #expect(!result.wasKilledBySignal, "it crashes: \(result.summary)", sourceLocation: location)
  let lines = result.errors.split(separator: "\n")
  #expect(
    !lines.isEmpty && lines.count <= 6, "unclear: \(result.summary)", sourceLocation: location)
  let text = result.errors.lowercased()
  #expect(
    words.isEmpty || words.contains { text.contains($0.lowercased()) },
    "none of \(words) in: \(result.summary)", sourceLocation: location)
}

/// Whether a process still exists (one that has ended and was not waited for does not count).
func isRunning(_ processID: pid_t) -> Bool {
  let status = readText("/proc/\(processID)/stat")
  guard let state = status.split(separator: ")").last?.split(separator: " ").first else {
    return false
  }
  return state != "Z"
}

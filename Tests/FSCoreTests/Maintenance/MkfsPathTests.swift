import Glibc
import TestSupport
import Testing

@testable import FSCore

/// Image files: created, kept, resized, and judged by `btrfs check`.
@Suite(.timeLimit(.minutes(10))) struct MkfsPathTests {
  private let directory: TemporaryDirectory
  private let image: String

  init() throws {
    directory = try TemporaryDirectory(inMemory: true)
    image = directory.file("image")
  }

  @discardableResult
  private func make(
    _ configure: (inout MakeFilesystem.Options) -> Void = { _ in }
  ) throws -> MakeFilesystem.Summary {
    var options = MakeFilesystem.Options()
    configure(&options)
    return try MakeFilesystem.create(path: image, options: options)
  }

  private func expectRefused(
    _ words: String, location: SourceLocation = #_sourceLocation,
    _ configure: (inout MakeFilesystem.Options) -> Void = { _ in }
  ) {
    do {
      try make(configure)
      Issue.record("accepted", sourceLocation: location)
    } catch {
      #expect("\(error)".contains(words), "\(error)", sourceLocation: location)
    }
  }

  private var status: stat {
    var status = stat()
    stat(image, &status)
    return status
  }

  /// A shape of file system.
  struct Shape: Sendable, CustomStringConvertible {
    var size: UInt64 = 1 << 30
    var nodeSize: UInt64?
    var metadata: MakeFilesystem.Profile?
    var data: MakeFilesystem.Profile?
    var isMixed = false
    var checksum = ChecksumType.crc32c

    var description: String {
      "\(ByteCount.text(size)) node \(nodeSize ?? 0) metadata \(metadata?.rawValue ?? "-") "
        + "data \(data?.rawValue ?? "-") \(isMixed ? "mixed" : "") \(checksum.name)"
    }

    func configure(_ options: inout MakeFilesystem.Options) {
      options.sizeBytes = size
      options.nodeSize = nodeSize
      options.metadata = metadata
      options.data = data
      options.isMixed = isMixed
      options.checksum = checksum
    }

    static let all: [Shape] = [
      Shape(), Shape(size: 128 << 20), Shape(size: 128 << 20, data: .dup),
      Shape(size: 128 << 20, nodeSize: 65536, metadata: .single),
      Shape(size: 128 << 20, data: .dup, isMixed: true),
      Shape(size: (1 << 30) + 4096, isMixed: true),
      Shape(nodeSize: 4096, checksum: .xxhash64), Shape(nodeSize: 65536, checksum: .sha256),
      Shape(nodeSize: 32768, data: .dup, checksum: .blake2b),
      Shape(metadata: .single, data: .dup), Shape(size: 300 << 30), Shape(size: 16 << 40),
    ]
  }

  @Test(arguments: Shape.all)
  func check(_ shape: Shape) throws {
    try make(shape.configure)
    try ImageCheck.expectSound(image)
    let lowMemory = try Shell.run("btrfs", "check", "--mode=lowmem", image)
    #expect(lowMemory.succeeded, "\(lowMemory.summary)")
    #expect(status.st_size == off_t(shape.size))
    // Sparse, and made at once.
    #expect(status.st_blocks < 8192)
  }

  /// What is written does not grow with the image, and so neither does the time.
  @Test func writesLittleAtAnySize() throws {
    for size: UInt64 in [128 << 20, 1 << 40, 16 << 40] {
      try make {
        $0.sizeBytes = size
        $0.force = true
      }
      #expect(status.st_size == Int64(size))
      #expect(status.st_blocks * 512 < 1 << 20)
    }
  }

  @Test func sizes() throws {
    expectRefused("--size")
    expectRefused("at least 128 MiB") { $0.sizeBytes = 100 << 20 }
    #expect(access(image, F_OK) != 0, "a refused image was created")

    try make { $0.sizeBytes = 200 << 20 }
    #expect(status.st_size == 200 << 20)
    // An existing image keeps its size unless another one is asked for.
    try make { $0.force = true }
    #expect(status.st_size == 200 << 20)
    try make {
      $0.force = true
      $0.sizeBytes = 300 << 20
    }
    #expect(status.st_size == 300 << 20)
    try ImageCheck.expectSound(image)
    try make {
      $0.force = true
      $0.sizeBytes = 150 << 20
    }
    #expect(status.st_size == 150 << 20)
    try ImageCheck.expectSound(image)
  }

  @Test func refusals() throws {
    try make { $0.sizeBytes = 200 << 20 }
    let before = try Shell.run("md5sum", image).output
    expectRefused("btrfs")
    expectRefused("--force") { $0.sizeBytes = 400 << 20 }
    // Whatever is wrong is found before anything is changed.
    expectRefused("node size") {
      $0.force = true
      $0.nodeSize = 100
    }
    do {
      let holder = try FileDevice(path: image, readOnly: false)
      expectRefused("in use") { $0.force = true }
      withExtendedLifetime(holder) {}
    }
    #expect(try Shell.run("md5sum", image).output == before)
    #expect(status.st_size == 200 << 20)

    try Shell.run("mkdir", directory.file("directory")).orThrow()
    #expect(throws: FilesystemError.self) {
      _ = try MakeFilesystem.create(path: directory.file("directory"), options: .init())
    }
    #expect(throws: FilesystemError.self) {
      _ = try MakeFilesystem.create(path: directory.file("no/such/image"), options: .init())
    }
  }

  /// An image that the kernel shows as a loop device may be mounted.
  @Test(.enabled(if: isRoot, "SKIPPED: needs root, for loop devices"))
  func loopDevices() throws {
    try make { $0.sizeBytes = 200 << 20 }
    let device = try Shell.run("losetup", "--find", "--show", image).orThrow().output
      .split(separator: "\n").joined()
    defer { _ = try? Shell.run("losetup", "-d", device) }
    expectRefused(device) { $0.force = true }
    // The block device itself is another matter.
    var options = MakeFilesystem.Options()
    #expect(throws: FilesystemError.self) {
      _ = try MakeFilesystem.create(path: device, options: options)
    }
    options.force = true
    options.nodeSize = 32768
    let summary = try MakeFilesystem.create(path: device, options: options)
    #expect(summary.superblock.totalBytes == 200 << 20)
    try ImageCheck.expectSound(image)
  }
}

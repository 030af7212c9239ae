import Glibc
import Logging
import Synchronization
import TestSupport
import Testing

@testable import FSCore

/// Random operations on files, against arrays; then Linux's checker on the image.
@Suite(.timeLimit(.minutes(10))) struct FilesModelTests {
  struct Variant: Sendable, CustomTestStringConvertible {
    var name: String
    var seed: UInt64
    /// Arguments of mkfs.btrfs; nil: our own.
    var kernelTool: [String]?
    var checksum = ChecksumType.crc32c
    var isMixed = false
    var data = MakeFilesystem.Profile.single
    var isConcurrent = false
    var isOverwritten = false
    /// What mounts are told of compression, in turn; nil is one that says nothing.
    var compression: [String?] = [nil]
    var operations = 600
    var testDescription: String { "\(name), seed \(seed)" }
  }

  static let variants = [
    Variant(name: "default", seed: 1), Variant(name: "default", seed: 2),
    Variant(name: "written back all the time", seed: 3, isConcurrent: true),
    Variant(name: "written back all the time", seed: 4, isConcurrent: true),
    Variant(name: "holes with items", seed: 5, kernelTool: ["-O", "^no-holes"]),
    Variant(
      name: "holes with items", seed: 6, kernelTool: ["-O", "^no-holes"], isConcurrent: true),
    Variant(name: "mixed, sha256", seed: 7, checksum: .sha256, isMixed: true),
    Variant(name: "DUP data, xxhash", seed: 8, checksum: .xxhash64, data: .dup),
    Variant(name: "without copy on write", seed: 9, isOverwritten: true),
    Variant(name: "without copy on write", seed: 10, isConcurrent: true, isOverwritten: true),
    Variant(name: "zstd", seed: 11, compression: ["zstd:3"]),
    Variant(
      name: "zstd, written back all the time", seed: 12, isConcurrent: true, compression: ["zstd:1"]
    ),
    Variant(
      name: "lzo, holes with items", seed: 13, kernelTool: ["-O", "^no-holes"], compression: ["lzo"]
    ),
    Variant(
      name: "zlib, mixed, sha256", seed: 14, checksum: .sha256, isMixed: true, compression: ["zlib"]
    ),
    Variant(
      name: "compression changes", seed: 15, isConcurrent: true,
      compression: ["zstd:15", nil, "zlib:9", "lzo"]),
  ]

  @Test(arguments: variants)
  func filesHoldWhatTheModelHolds(variant: Variant) throws {
    print("files against a model: \(variant.testDescription)")
    let directory = try TemporaryDirectory(inMemory: true)
    let image = directory.file("image")
    try Self.make(image, variant)

    var random = SeededRandom(testSeed: variant.seed)
    var states: [FilesModel.State] = []
    for round in 0..<4 {
      // A volume that nothing refers to any more lets go of the image.
      let compression = variant.compression[round % variant.compression.count]
      let volume = try Self.mount(image, compression: compression)
      if round == 0 { states = try Self.makeFiles(volume, variant) }
      var models = states.map { FilesModel(volume, $0) }
      for model in models { try model.checkAll() }
      if round == 3 { return try volume.unmount() }

      let flusher = variant.isConcurrent ? BackgroundFlusher(volume) : nil
      for _ in 0..<(variant.operations / 3) {
        let index = random.below(models.count)
        try models[index].step()
      }
      flusher?.stop()

      for model in models { try model.checkAll() }
      try volume.unmount()
      states = models.map { $0.state }
      try ImageCheck.expectSound(image)
    }
  }

  static func makeFiles(_ volume: Volume, _ variant: Variant) throws -> [FilesModel.State] {
    try (0..<3).map { index in
      let id = try volume.makeFile("/f\(index)")
      if variant.isOverwritten { try volume.addFlags(id, [.noDataCow, .noDataSum]) }
      let seed = variant.seed * 100 + UInt64(index)
      return FilesModel(volume, id, seed: seed, largest: index == 0 ? 6000 : 1 << 20).state
    }
  }

  static func make(_ image: String, _ variant: Variant) throws {
    try writeFile(BytePath(image), [])
    guard truncate(image, 512 << 20) == 0 else { throw TestFailure("no room for an image") }
    if let arguments = variant.kernelTool {
      _ = try Shell.run(["mkfs.btrfs", "-q", "-R", "^free-space-tree"] + arguments + [image])
        .orThrow()
      return
    }
    var options = MakeFilesystem.Options()
    options.checksum = variant.checksum
    options.isMixed = variant.isMixed
    options.data = variant.data
    let device = try FileDevice(path: image, readOnly: false)
    _ = try MakeFilesystem.write(to: device, options: options)
  }

  static func mount(_ image: String, compression: String? = nil) throws -> Volume {
    try Volume.mountForTest(try FileDevice(path: image, readOnly: false, waitSeconds: 10)) {
      $0.cacheBytes = 64 << 20
      $0.compress(compression)
    }
  }
}

/// Writes back and commits without a pause until it is told to stop.
final class BackgroundFlusher: Sendable {
  private final class Flag: Sendable {
    let isSet = Atomic<Bool>(false)
  }

  private let mustStop = Flag()
  private let thread: BackgroundThread

  init(_ volume: Volume) {
    thread = BackgroundThread { [mustStop] in
      var round = 0
      while !mustStop.isSet.load(ordering: .relaxed) {
        round += 1
        volume.files.flushAll()
        if round % 16 == 0 { try? volume.commit() }
      }
    }
  }

  /// A test that fails does not get as far as `stop`.
  deinit { mustStop.isSet.store(true, ordering: .relaxed) }

  func stop() {
    mustStop.isSet.store(true, ordering: .relaxed)
    thread.join()
  }
}

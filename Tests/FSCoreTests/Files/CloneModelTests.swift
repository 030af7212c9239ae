import Glibc
import TestSupport
import Testing

@testable import FSCore

/// Random copies and clones among files and snapshots, against arrays; then Linux's checker on the
/// image, and at last nothing is left of the space.
@Suite(.timeLimit(.minutes(10))) struct CloneModelTests {
  struct Variant: Sendable, CustomTestStringConvertible {
    var name: String
    var seed: UInt64
    /// Arguments of mkfs.btrfs.
    var format: [String] = []
    /// Linux makes files with this mount option first; needs root.
    var compression: String?
    var isConcurrent = false
    /// Some files have no copy on write.
    var hasUnchecked = false
    var testDescription: String { "\(name), seed \(seed)" }
  }

  static let variants = [
    Variant(name: "default", seed: 411),
    Variant(name: "4 KiB nodes", seed: 412, format: ["-n", "4096"], isConcurrent: true),
    Variant(name: "holes with items", seed: 413, format: ["-O", "^no-holes"]),
    Variant(name: "mixed", seed: 414, format: ["-M"], isConcurrent: true),
    Variant(name: "without copy on write", seed: 415, hasUnchecked: true),
    Variant(
      name: "without copy on write", seed: 416, format: ["-n", "4096", "-O", "^no-holes"],
      isConcurrent: true, hasUnchecked: true),
    Variant(name: "compressed by Linux", seed: 417, compression: "compress-force=zstd"),
    Variant(
      name: "compressed by Linux", seed: 418, format: ["-n", "4096"],
      compression: "compress-force=lzo"),
    Variant(
      name: "compressed by Linux, holes with items", seed: 419, format: ["-O", "^no-holes"],
      compression: "compress=zlib", isConcurrent: true),
  ]

  @Test(
    .enabled(if: isRoot && Shell.find("mkfs.btrfs") != nil, "SKIPPED: needs root, for loop mounts"),
    arguments: variants)
  func clonesHoldWhatTheModelHolds(variant: Variant) throws {
    print("clones against a model: \(variant.testDescription), seed \(TestSeed.of(variant.seed))")
    let directory = try TemporaryDirectory(inMemory: true)
    let image = directory.file("image")
    try Shell.run("truncate", "-s", "1G", image).orThrow()
    try Shell.run(["mkfs.btrfs", "-q"] + variant.format + [image]).orThrow()
    if let option = variant.compression { try makeFiles(image, directory, option) }

    var model: CloneModel?
    for round in 0..<3 {
      let volume = try FilesModelTests.mount(image)
      if model == nil { model = try start(volume, variant) }
      model!.volume = volume
      try model!.checkAll()
      let flusher = variant.isConcurrent ? BackgroundFlusher(volume) : nil
      for _ in 0..<(TestSeed.isThorough ? 1200 : 250) { try model!.step() }
      flusher?.stop()
      try model!.checkAll()
      if round == 1 {
        try volume.balanceAll(metadata: nil)
        try model!.checkAll()
      }
      model!.volume = nil
      try volume.unmount()
      try ImageCheck.expectSound(image)
    }

    let volume = try FilesModelTests.mount(image)
    model!.volume = volume
    try model!.checkAll()
    for path in model!.snapshots { try volume.deleteSubvolume(path) }
    for file in model!.files
    where !model!.snapshots.contains(where: { file.path.hasPrefix($0 + "/") }) {
      try volume.remove(file.path)
    }
    #expect(volume.cleaner.wait(seconds: 60))
    try volume.synchronizeAll()
    if !variant.format.contains("-M") { #expect(volume.usedData == 0) }
    try volume.unmount()
    try ImageCheck.expectSound(image)
  }

  private func start(_ volume: Volume, _ variant: Variant) throws -> CloneModel {
    var model = CloneModel(volume, seed: variant.seed)
    if variant.compression == nil { try volume.makeSubvolume("/v") }
    for number in 0..<3 {
      let flags: InodeFlags =
        variant.hasUnchecked && number > 0 ? [.noDataCow, .noDataSum] : []
      try model.add("/v/f\(number)", flags: flags)
      try model.add("/g\(number)", flags: flags)
    }
    if variant.compression != nil {
      for path in ["/v/text", "/v/tiny", "/large", "/sparse", "/random", "/prealloc"] {
        try model.adopt(path)
      }
    }
    return model
  }

  private func makeFiles(_ image: String, _ directory: TemporaryDirectory, _ option: String) throws
  {
    let mount = try LoopMount(
      image, at: try directory.directory("mount"), options: "noatime,\(option)")
    let script = """
      cd "$1"; btrfs -q subvolume create v
      seq 1 60000 > v/text; seq 1 700 > v/tiny
      yes 'the same again' | head -c 390000 > large; sync; yes 'other' | head -c 9000 |
        dd of=large bs=4096 seek=20 conv=notrunc status=none
      truncate -s 300000 sparse; seq 1 9000 | dd of=sparse bs=4096 seek=30 conv=notrunc status=none
      head -c 200000 /dev/urandom > random
      fallocate -l 200000 prealloc; seq 1 2000 | dd of=prealloc bs=4096 seek=5 conv=notrunc status=none
      """
    try Shell.run("bash", "-c", script, "bash", mount.directory, timeout: 60).orThrow()
    try mount.unmount()
  }
}

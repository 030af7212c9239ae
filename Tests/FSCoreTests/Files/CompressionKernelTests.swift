import TestSupport
import Testing

@testable import FSCore

/// What we compress, read by Linux: every algorithm, in every place where it may stand.
@Suite(.timeLimit(.minutes(10))) struct CompressionKernelTests {
  private static let isPossible = isRoot && Shell.find("mkfs.btrfs") != nil

  @Test(
    .enabled(if: isPossible, "SKIPPED: needs root, for loop mounts by the kernel"),
    arguments: ["zlib:1", "zlib:9", "lzo", "zstd", "zstd:-15", "zstd:15"])
  func filesAreReadByLinux(option: String) throws {
    let fixture = try NamesFixture()
    try fixture.remount { $0.compress(option) }
    let volume = fixture.volume
    var random = SeededRandom(testSeed: UInt64(option.utf8.count))
    var contents: [[UInt8]] = []
    for index in 0..<60 {
      // Every length near an edge, and others.
      let count =
        index < 24
        ? [1, 2048, 2049, 4095, 4096, 4097, 8191, 8192, 131_071, 131_072, 131_073, 262_144][
          index / 2]
        : random.within(1...400_000)
      var bytes = CompressionTests.text(count)
      if index % 2 == 1 {
        // Noise in places, so that segments of LZO get all lengths.
        for _ in 0..<(count / 3000) {
          let start = random.below(count)
          let end = min(start + random.within(1...2000), count)
          for position in start..<end {
            bytes[position] = UInt8.random(in: 0...255, using: &random)
          }
        }
      }
      let id = try volume.makeFile("/f\(index)")
      // In pieces, some of which begin in the middle of a cell.
      var done = 0
      while done < count {
        let length = min(count - done, random.within(1...200_000))
        try volume.writeBytes(id, at: UInt64(done), Array(bytes[done..<(done + length)]))
        done += length
        if random.oneIn(3) { volume.files.flush(try volume.content.file(id)) }
      }
      if count > 30_000, random.oneIn(2) {
        let start = random.below(count - 20_000)
        try volume.content.allocate(
          volume.find("/f\(index)"), .punchHole, offset: UInt64(start), length: 9000)
        bytes.replaceSubrange(start..<(start + 9000), with: [UInt8](repeating: 0, count: 9000))
      }
      contents.append(bytes)
    }
    try fixture.unmountAndCheck()

    let mountPoint = try fixture.directory.directory("mount")
    let kernel = try LoopMount(fixture.image, at: mountPoint)
    var wrong: [Int] = []
    for (index, bytes) in contents.enumerated()
    where try readFile(BytePath(mountPoint + "/f\(index)")) != bytes { wrong.append(index) }
    try kernel.unmount()
    #expect(wrong == [])
    try kernel.expectCleanLog()
    try ImageCheck.expectSound(fixture.image)
  }

  /// Compressed extents in snapshots, changed on either side, and judged by Linux.
  @Test(
    .enabled(if: isPossible, "SKIPPED: needs root, for loop mounts by the kernel"),
    arguments: ["zstd", "lzo"])
  func snapshotsShareThem(option: String) throws {
    let directory = try TemporaryDirectory(inMemory: true)
    let image = directory.file("image")
    let mountPoint = try directory.directory("mount")
    try Shell.run("truncate", "-s", "512M", image).orThrow()
    try Shell.run("mkfs.btrfs", "-q", "-R", "^free-space-tree", image).orThrow()
    let bytes = CompressionTests.text(1_000_000)
    // A volume that nothing refers to any more lets go of the image.
    do {
      let volume = try Volume.mountForTest(
        FileDevice(path: image, readOnly: false, waitSeconds: 10)
      ) { $0.compress(option) }
      try volume.writeBytes(try volume.makeFile("/f"), at: 0, bytes)
      try volume.unmount()
    }

    let kernel = try LoopMount(image, at: mountPoint)
    let script = """
      set -e
      cd "$1"
      btrfs -q subvolume snapshot . one
      cp --reflink=always f clone
      dd if=/dev/zero of=one/f bs=10000 seek=7 count=3 conv=notrunc status=none
      truncate -s 300001 clone
      """
    try Shell.run("bash", "-c", script, "bash", mountPoint).orThrow()
    try kernel.unmount()

    var expected = ["f": bytes, "one/f": bytes, "clone": Array(bytes[..<300_001])]
    expected["one/f"]?.replaceSubrange(70_000..<100_000, with: [UInt8](repeating: 0, count: 30_000))
    do {
      let again = try Volume.mountForTest(
        FileDevice(path: image, readOnly: false, waitSeconds: 10)
      ) { $0.compress("zlib") }
      for (name, content) in expected {
        #expect(try again.readBytes(again.find(name), at: 0, count: 1 << 20) == content)
      }
      for (index, name) in ["f", "one/f", "clone"].enumerated() {
        let new = CompressionTests.noise(9000, seed: UInt64(index))
        let start = 140_000 + index * 20_000
        try again.writeBytes(again.find(name), at: UInt64(start), new)
        expected[name]?.replaceSubrange(start..<(start + 9000), with: new)
      }
      try again.unmount()
    }
    try ImageCheck.expectSound(image)
    let last = try LoopMount(image, at: mountPoint)
    for (name, content) in expected {
      let isSame = try readFile(BytePath(mountPoint + "/" + name)) == content
      #expect(isSame, "\(name)")
    }
    try last.unmount()
    try last.expectCleanLog()
  }
}

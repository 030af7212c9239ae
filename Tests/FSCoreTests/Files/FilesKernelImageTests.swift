import TestSupport
import Testing

@testable import FSCore

/// Files that Linux wrote in ways that we do not, or shares with snapshots and clones, changed
/// by us and read by Linux again.
@Suite(.timeLimit(.minutes(10))) struct FilesKernelImageTests {
  private static let isPossible = isRoot && Shell.find("mkfs.btrfs") != nil

  private static let script = """
    set -e
    cd "$1"
    text() { yes "$1 some text that can be compressed, line by line" | head -c $2 || true; }
    mixed() { text "$1" 90000; head -c 50000 /dev/urandom; text "$1" 250000; }
    for number in 1 2; do
      mixed $number > mixed$number
      text $number 3000 > small$number
      text $number 4096 > sector$number
      sync
      text $number 9000 >> sector$number
    done
    for number in 1 2; do
      fallocate -l 700000 allocated$number
      text $number 100000 | dd of=allocated$number conv=notrunc bs=10000 seek=7 status=none
    done
    head -c 300000 /dev/urandom > plain1
    touch nocow1 nocow2 nocow3 nocow4 nocow5
    chattr +C nocow1 nocow2 nocow3 nocow4 nocow5
    for number in 1 2 3; do head -c 300000 /dev/urandom > nocow$number; done
    sync
    cp --reflink=always nocow2 nocow4
    cp --reflink=always allocated2 clone1
    cp --reflink=always mixed2 clone2
    cp --reflink=always plain1 clone3
    btrfs -q subvolume snapshot . snapshot
    head -c 100000 /dev/urandom | dd of=nocow1 conv=notrunc bs=20000 seek=4 status=none
    head -c 300000 /dev/urandom > nocow5
    sync
    """

  private static let names = [
    "mixed1", "mixed2", "small1", "small2", "sector1", "sector2", "allocated1", "allocated2",
    "plain1", "clone1", "clone2", "clone3", "nocow1", "nocow2", "nocow3", "nocow4", "nocow5",
    "snapshot/mixed1", "snapshot/allocated1", "snapshot/allocated2", "snapshot/small1",
    "snapshot/sector1", "snapshot/plain1", "snapshot/nocow1", "snapshot/nocow4",
  ]

  @Test(
    .enabled(if: isPossible, "SKIPPED: needs root, for loop mounts by the kernel"),
    arguments: ["zlib", "lzo", "zstd", "no"])
  func sharedAndCompressedFilesAreChanged(compression: String) throws {
    print("files of Linux's: compression \(compression)")
    let directory = try TemporaryDirectory(inMemory: true)
    let image = directory.file("image")
    let mountPoint = try directory.directory("mount")
    try Shell.run("truncate", "-s", "512M", image).orThrow()
    try Shell.run("mkfs.btrfs", "-q", "-R", "^free-space-tree", image).orThrow()
    let options =
      LoopMount.kernelOptions + (compression == "no" ? "" : ",compress-force=\(compression)")
    let kernel = try LoopMount(image, at: mountPoint, options: options)
    try Shell.run("bash", "-c", Self.script, "bash", mountPoint).orThrow()
    var contents = try Self.names.map { try readFile(BytePath(mountPoint + "/" + $0)) }
    try kernel.unmount()

    do {
      let device = try FileDevice(path: image, readOnly: false, waitSeconds: 10)
      // We compress what Linux did not, and the other way round.
      let volume = try Volume.mountForTest(device) {
        $0.compress(["no": "zstd", "zstd": "lzo", "lzo": "zlib:6"][compression])
      }
      var models: [FilesModel] = []
      for (index, name) in Self.names.enumerated() {
        let id = try volume.find(name)
        var model = FilesModel(volume, id, seed: UInt64(index), largest: 800_000)
        model.state.bytes = contents[index]
        try model.checkAll()
        models.append(model)
      }
      var random = SeededRandom(testSeed: UInt64(compression.utf8.count))
      for _ in 0..<700 {
        let index = random.below(models.count)
        try models[index].step()
      }
      for model in models { try model.checkAll() }
      try volume.unmount()
      contents = models.map { $0.state.bytes }
    }
    try ImageCheck.expectSound(image)

    let again = try LoopMount(image, at: mountPoint)
    for (index, name) in Self.names.enumerated() {
      let found = try readFile(BytePath(mountPoint + "/" + name))
      #expect(found == contents[index], "\(name) is not what we wrote")
    }
    try again.expectCleanLog()
    try again.unmount()
  }

  /// Where holes have items: a piece that Linux cuts off a hole keeps how far it stood from the
  /// hole's beginning, and no piece of that piece may reach beyond its own length.
  @Test(
    .enabled(if: isPossible, "SKIPPED: needs root, for loop mounts by the kernel"),
    arguments: [0, 100_000, 150_000, 200_000])
  func piecesOfHoles(position: Int) throws {
    let directory = try TemporaryDirectory(inMemory: true)
    let image = directory.file("image")
    let mountPoint = try directory.directory("mount")
    try Shell.run("truncate", "-s", "256M", image).orThrow()
    try Shell.run("mkfs.btrfs", "-q", "-R", "^free-space-tree", "-O", "^no-holes", image).orThrow()
    let kernel = try LoopMount(image, at: mountPoint)
    let file = BytePath(mountPoint + "/file")
    let script = """
      truncate -s 409600 "$1" && sync
      printf text | dd of="$1" bs=4096 seek=20 conv=notrunc status=none && sync
      """
    try Shell.run("bash", "-c", script, "bash", "\(file)").orThrow()
    var content = try readFile(file)
    try kernel.unmount()

    let bytes = [UInt8](repeating: 7, count: 5000)
    content.replaceSubrange(position..<(position + bytes.count), with: bytes)
    let volume = try Volume.mountForTest(
      try FileDevice(path: image, readOnly: false, waitSeconds: 10))
    try volume.writeBytes(volume.find("/file"), at: UInt64(position), bytes)
    try volume.unmount()
    try ImageCheck.expectSound(image)

    let again = try LoopMount(image, at: mountPoint)
    #expect(try readFile(file) == content)
    try again.unmount()
    try again.expectCleanLog()
  }
}

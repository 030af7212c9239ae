import Glibc
import TestSupport
import Testing

@testable import FSCore

/// Balances of images that Linux has filled, with snapshots, reflinks and compressed extents.
@Suite(
  .enabled(if: isRoot && Shell.find("mkfs.btrfs") != nil, "SKIPPED: needs root, for loop mounts"),
  .timeLimit(.minutes(10)))
struct BalanceKernelTests {
  static let script = """
    set -e
    cd "$1"
    text() { yes "$1 some text that can be compressed, line by line" | head -c $2 || true; }
    mkdir many
    for number in $(seq 1 400); do text $number $((number * 37)) > many/f$number; done
    for number in 1 2 3; do
      (text $number 90000; head -c 50000 /dev/urandom; text $number 950000) > mixed$number
      head -c 3000000 /dev/urandom > plain$number
      ln plain$number many/link$number
      setfattr -n user.key -v "value $number" plain$number
    done
    fallocate -l 700000 allocated1
    text 1 100000 | dd of=allocated1 conv=notrunc bs=10000 seek=7 status=none
    truncate -s 20M sparse
    echo end | dd of=sparse conv=notrunc bs=4096 seek=3000 status=none
    touch nocow1; chattr +C nocow1; head -c 300000 /dev/urandom > nocow1
    btrfs -q subvolume create sub
    for number in $(seq 1 200); do text $number $((number * 61)) > sub/g$number; done
    sync
    cp --reflink=always mixed2 clone2
    cp --reflink=always plain1 clone3
    cp --reflink=always plain1 sub/clone4
    btrfs -q subvolume snapshot sub snap1
    btrfs -q subvolume snapshot -r sub snap2
    sync
    for number in $(seq 1 20); do text new$number 2000 > sub/g$number; rm -f snap1/g$((number + 50)); done
    head -c 20000 /dev/urandom | dd of=clone3 conv=notrunc bs=20000 seek=9 status=none
    btrfs -q subvolume snapshot snap1 snap3
    for number in $(seq 21 40); do rm snap3/g$number; text again 900 > snap1/h$number; done
    sync
    """

  static let formats = [
    "-R ^free-space-tree", "-R free-space-tree",
    "-O ^skinny-metadata,^no-holes -R ^free-space-tree", "-M -R ^free-space-tree",
    "-n 4096 -m single",
  ]

  /// Of every subvolume the identity by which btrfs receive finds it.
  private static func transactions(_ volume: Volume) throws -> [String] {
    var lines: [String] = []
    for id in try volume.trees.subvolumeIDs() where id != .topLevel {
      try volume.trees.root.forEach(
        from: Key(id.objectID, .rootItem, 0), through: Key(id.objectID, .rootItem, .max)
      ) { (_, bytes) throws(FilesystemError) in
        let item = try RootItem(bytes)
        lines.append("\(id) \(item.lastChange) \(item.changeTime)")
        return true
      }
    }
    return lines
  }

  @Test(arguments: formats) func everythingMoves(format: String) throws {
    let directory = try TemporaryDirectory(inMemory: true)
    let image = directory.file("image")
    let mountPoint = try directory.directory("mount")
    try Shell.run("truncate", "-s", "1G", image).orThrow()
    try Shell.run("bash", "-c", "mkfs.btrfs -q \(format) \(image)").orThrow()
    let hasTree = !format.contains("^free-space-tree")
    let options = (hasTree ? "noatime" : LoopMount.kernelOptions) + ",compress=zstd"
    let kernel = try LoopMount(image, at: mountPoint, options: options)
    try Shell.run("bash", "-c", Self.script, "bash", mountPoint, timeout: 300).orThrow()
    try kernel.unmount()
    let expected = try KernelState.lines(of: image, in: directory, hasFreeSpaceTree: hasTree)

    do {
      let device = try FileDevice(path: image, readOnly: false, waitSeconds: 10)
      let volume = try Volume.mountForTest(device)
      let before = Set(volume.space.groups.all.filter { !$0.flags.contains(.system) }.map(\.start))
      let used = volume.space.groups.all.reduce(0) { $0 + $1.used }
      let transactions = try Self.transactions(volume)
      try volume.balanceAll()
      #expect(before.isDisjoint(with: volume.space.groups.all.map(\.start)))
      try volume.synchronizeAll()
      #expect(volume.brokenInvariants() == [])
      #expect(try Self.transactions(volume) == transactions)
      let nowUsed = volume.space.groups.all.reduce(0) { $0 + $1.used }
      print("balance of '\(format)': \(used) bytes used, then \(nowUsed)")
      // What snapshots share they share afterwards.
      #expect(nowUsed <= used + 8 * volume.geometry.nodeSize)
      try volume.unmount()
    }
    try ImageCheck.expectSound(image)
    #expect(
      try KernelState.lines(of: image, in: directory, hasFreeSpaceTree: hasTree) == expected)

    // Linux deletes the snapshots, whose blocks we have moved, and balances.
    let again = try LoopMount(image, at: mountPoint, options: options)
    for name in ["snap2", "snap3", "sub"] {
      try Shell.run("btrfs", "-q", "subvolume", "delete", "-C", mountPoint + "/" + name).orThrow()
    }
    try Shell.run("btrfs", "filesystem", "sync", mountPoint).orThrow()
    try Shell.run("btrfs", "subvolume", "sync", mountPoint).orThrow()
    try Shell.run("btrfs", "balance", "start", "--full-balance", mountPoint).orThrow()
    try again.unmount()
    try again.expectCleanLog()
    try ImageCheck.expectSound(image)
  }

  private func makeImage(_ directory: TemporaryDirectory) throws -> (String, String, [String]) {
    let image = directory.file("image")
    let mountPoint = try directory.directory("mount")
    try Shell.run("truncate", "-s", "2G", image).orThrow()
    try Shell.run("bash", "-c", "mkfs.btrfs -q -R free-space-tree \(image)").orThrow()
    let kernel = try LoopMount(image, at: mountPoint, options: "noatime,compress=zstd")
    try Shell.run("bash", "-c", Self.script, "bash", mountPoint, timeout: 300).orThrow()
    try Shell.run(
      "bash", "-c", "for n in $(seq 1 25); do head -c 20000000 /dev/urandom > $1/big$n; done",
      "bash", mountPoint, timeout: 300
    ).orThrow()
    try kernel.unmount()
    return (
      image, mountPoint,
      try KernelState.lines(of: image, in: directory, hasFreeSpaceTree: true)
    )
  }

  /// Linux goes on with a balance that we have left.
  @Test func linuxGoesOn() throws {
    let directory = try TemporaryDirectory(inMemory: true)
    let (image, mountPoint, expected) = try makeImage(directory)
    do {
      let device = try FileDevice(path: image, readOnly: false, waitSeconds: 10)
      let volume = try Volume.mountForTest(device)
      try volume.balance.start(.all)
      try volume.balance.pause()
      #expect(volume.balance.status.phase == .paused)
      try volume.unmount()
    }
    try ImageCheck.expectSound(image)
    let kernel = try LoopMount(image, at: mountPoint, options: "noatime")
    var text = ""
    for _ in 0..<600 {
      text = try Shell.run("btrfs", "balance", "status", mountPoint).output
      if text.contains("No balance found") { break }
      usleep(100_000)
    }
    #expect(text.contains("No balance found"), "\(text)")
    try kernel.unmount()
    try kernel.expectCleanLog()
    try ImageCheck.expectSound(image)
    #expect(
      try KernelState.lines(of: image, in: directory, hasFreeSpaceTree: true) == expected)
    let device = try FileDevice(path: image, readOnly: false, waitSeconds: 10)
    let volume = try Volume.mountForTest(device)
    #expect(volume.balance.status.plan == nil)
    try volume.unmount()
  }

  /// We go on with one that Linux has left; or we cancel it.
  @Test(arguments: [false, true]) func weGoOn(cancels: Bool) throws {
    let directory = try TemporaryDirectory(inMemory: true)
    let (image, mountPoint, expected) = try makeImage(directory)
    let kernel = try LoopMount(image, at: mountPoint, options: "noatime")
    try Shell.run(
      "bash", "-c",
      """
      btrfs balance start --full-balance $1 & balance=$!
      until btrfs balance pause $1; do kill -0 $balance || exit 1; done
      wait
      """,
      "bash", mountPoint, timeout: 300
    ).orThrow()
    try kernel.unmount()
    do {
      let device = try FileDevice(path: image, readOnly: false, waitSeconds: 10)
      let volume = try Volume.mountForTest(device) { $0.skipBalance = cancels }
      #expect(volume.balance.status.plan?.data != nil, "Linux has finished too early")
      if cancels {
        try volume.balance.cancel()
        #expect(volume.balance.status.outcome == .cancelled)
      } else {
        try volume.finishBalance()
      }
      try volume.unmount()
    }
    try ImageCheck.expectSound(image)
    #expect(
      try KernelState.lines(of: image, in: directory, hasFreeSpaceTree: true) == expected)
  }
}

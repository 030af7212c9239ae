import TestSupport
import Testing

@testable import FSCore

/// Linux and we take turns on one image: each makes, changes, deletes and lists subvolumes that either
/// has made, and finds what the other has left.
@Suite(
  .enabled(if: isRoot, "SKIPPED: needs root, for loop mounts by the kernel"),
  .timeLimit(.minutes(10)))
struct SubvolumeTurnsTests {
  @Test(arguments: [4096, 16384] as [UInt64]) func turns(nodeSize: UInt64) throws {
    print("turns with Linux, nodes of \(nodeSize) bytes, seed \(TestSeed.of(351))")
    var random = SeededRandom(testSeed: 351)
    let directory = try TemporaryDirectory(inMemory: true)
    let image = directory.file("image")
    try Shell.run("truncate", "-s", "1G", image).orThrow()
    try Shell.run("mkfs.btrfs", "-q", "-n", "\(nodeSize)", image).orThrow()
    var names: [String] = []
    var made = 0
    for round in 0..<(TestSeed.isThorough ? 40 : 8) {
      let lines: [String]
      if round % 2 == 0 {
        lines = try ourTurn(image, directory, &names, &made, &random)
      } else {
        lines = try linuxsTurn(image, directory, &names, &made, &random)
      }
      try ImageCheck.expectSound(image)
      #expect(
        try KernelState.lines(of: image, in: directory, hasFreeSpaceTree: true) == lines,
        "round \(round)")
    }
  }

  private func ourTurn(
    _ image: String, _ directory: TemporaryDirectory, _ names: inout [String], _ made: inout Int,
    _ random: inout SeededRandom
  ) throws -> [String] {
    let fixture = try NamesFixture(image: image, directory: directory)
    let volume = fixture.volume
    for _ in 0..<12 {
      let some = names.isEmpty ? "" : names[random.below(names.count)]
      switch random.below(6) {
      case 0,
        1 where names.isEmpty:
        try volume.makeSubvolume("/v\(made)")
        names.append("v\(made)")
        made += 1
      case 1,
        2 where !names.isEmpty:
        try volume.makeSnapshot(of: "/\(some)", "/v\(made)")
        names.append("v\(made)")
        made += 1
      case 3 where names.count > 3:
        try volume.deleteSubvolume("/\(some)")
        names.removeAll { $0 == some }
      default:
        guard !some.isEmpty else { continue }
        for _ in 0..<20 {
          let path = "/\(some)/f\(random.below(200))"
          let id = try (try? volume.find(path)) ?? volume.makeFile(path)
          try volume.writeBytes(id, at: random.below(9000), random.bytes(1 + random.below(9000)))
        }
      }
    }
    if random.below(2) == 0 { _ = volume.cleaner.wait(seconds: 60) }
    let lines = try volume.stateLines()
    try volume.unmount()
    return lines
  }

  private func linuxsTurn(
    _ image: String, _ directory: TemporaryDirectory, _ names: inout [String], _ made: inout Int,
    _ random: inout SeededRandom
  ) throws -> [String] {
    let mount = try LoopMount(image, at: directory.file("mount"), options: "noatime")
    func btrfs(_ arguments: String...) throws {
      try Shell.run(["btrfs", "-q", "subvolume"] + arguments, timeout: 60).orThrow()
    }
    let root = mount.directory
    for _ in 0..<10 {
      let some = names.isEmpty ? "" : names[random.below(names.count)]
      switch random.below(5) {
      case 0:
        try btrfs("create", "\(root)/v\(made)")
        names.append("v\(made)")
        made += 1
      case 1 where !names.isEmpty:
        try btrfs("snapshot", "\(root)/\(some)", "\(root)/v\(made)")
        names.append("v\(made)")
        made += 1
      case 2 where names.count > 3:
        try btrfs("delete", "\(root)/\(some)")
        names.removeAll { $0 == some }
      default:
        guard !some.isEmpty else { continue }
        let script = """
          cd "$1"; for i in $(seq 15); do head -c $((RANDOM % 9000 + 1)) /dev/urandom > f$((RANDOM % 200)); done
          """
        try Shell.run("bash", "-c", script, "bash", "\(root)/\(some)", timeout: 60).orThrow()
      }
    }
    let list = try Shell.run("btrfs", "subvolume", "list", root).orThrow().output
    #expect(list.split(separator: "\n").count == names.count)
    try mount.unmount()
    try mount.expectCleanLog()
    return try KernelState.lines(of: image, in: directory, hasFreeSpaceTree: true)
  }
}

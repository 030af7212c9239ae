import Glibc

/// What the kernel does to the images between turns.
extension DifferentialRun {
  func protectedNames(round: Int) -> Set<String> {
    guard options.variant.hasSnapshots else { return [] }
    return Set(["tree"] + (1...round).flatMap { ["snap-\($0)", "snap-ro-\($0)"] })
  }

  /// Lets the kernel share tree blocks (snapshots) and extents (reflinks), and drop some sharing.
  func makeSharing(_ image: String, round: Int) throws {
    let mounted = try LoopMount(
      image, at: mountPoint, options: options.variant.kernelOptions(turn: 0))
    defer { try? mounted.unmount() }
    func btrfs(_ arguments: String...) throws {
      try Shell.run(["btrfs", "subvolume"] + arguments).orThrow()
    }
    let tree = "\(mountPoint)/tree"
    if round == 1 {
      try btrfs("create", tree)
      try seedFiles(in: tree)
    }
    try reflinkFiles(in: tree, round: round)
    try btrfs("snapshot", tree, "\(mountPoint)/snap-\(round)")
    if round % 3 == 0 { try btrfs("snapshot", "-r", tree, "\(mountPoint)/snap-ro-\(round)") }
    if round > 3 { try btrfs("delete", "-C", "\(mountPoint)/snap-\(round - 3)") }
    try mounted.unmount()
    try mounted.expectCleanLog(tolerated: doubtful[image] ?? [])
    try judge(image, writer: .kernel)
  }

  /// Lets the kernel move every extent, tree blocks too, to another block group.
  func balance(_ image: String) throws {
    let mounted = try LoopMount(
      image, at: mountPoint, options: options.variant.kernelOptions(turn: 0))
    defer { try? mounted.unmount() }
    try Shell.run("btrfs", "balance", "start", "--full-balance", mountPoint, timeout: 120)
      .orThrow()
    try mounted.unmount()
    try mounted.expectCleanLog(tolerated: doubtful[image] ?? [])
    try judge(image, writer: .kernel)
  }

  private func seedFiles(in tree: String) throws {
    var random = SeededRandom(seed: options.seed)
    for index in 0..<150 {
      var bytes = [UInt8](repeating: 0, count: random.within(100...60_000))
      bytes.withUnsafeMutableBytes { random.fillNonZero($0) }
      try writeFile(BytePath("\(tree)/seed-\(index)"), bytes)
    }
  }

  private func reflinkFiles(in tree: String, round: Int) throws {
    var random = SeededRandom(seed: options.seed &+ UInt64(round))
    let root = BytePath(tree)
    let files = try directoryNames(root).map { root.appending($0) }.filter { path in
      var status = stat()
      return path.withCPath { lstat($0, &status) } == 0 && status.st_mode & S_IFMT == S_IFREG
    }
    guard !files.isEmpty else { return }
    for index in 0..<8 {
      let source = random.pick(files)
      // A name that is no text cannot be given to a command.
      guard String(validating: source.bytes, as: UTF8.self) != nil else { continue }
      let target = "\(tree)/reflink-\(round)-\(index)"
      try Shell.run("cp", "--reflink=always", "--", source.string, target).orThrow()
    }
  }
}

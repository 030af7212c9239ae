import Glibc

/// The same seeded operations on a kernel mount of one image and on a peer's mount of its twin,
/// for some rounds, the sides swapping images each round: what one has written, the other goes on
/// with. After each round all results, both trees, and both images must agree.
package final class DifferentialRun {
  private let options: DifferentialOptions
  private let directory: TemporaryDirectory
  private let mountPoint: String
  private let images: [String]
  private var lastTree: TreeSnapshot?
  /// Groups of an image whose cache the kernel, writing last, left in doubt.
  private var doubtful: [String: Set<Int>] = [:]

  package init(_ options: DifferentialOptions) throws {
    self.options = options
    directory = try TemporaryDirectory(inMemory: true)
    mountPoint = try directory.directory("mount")
    images = [directory.file("a.img"), directory.file("b.img")]
    if options.usesFsmountImage {
      try options.variant.makeWithFsmount(images[0])
    } else {
      try options.variant.makeWithKernelTools(images[0])
    }
    try Shell.run("cp", "--sparse=always", images[0], images[1]).orThrow()
  }

  package func run() throws {
    for round in 1...options.rounds {
      do {
        try run(round: round)
      } catch {
        throw TestFailure(
          "\(options.variant) seed \(options.seed), round \(round) against \(options.peer): \(error)"
        )
      }
    }
  }

  private func run(round: Int) throws {
    let start = monotonicSeconds()
    let kernelImage = images[(round + 1) % 2]
    let peerImage = images[round % 2]
    if options.variant.hasSnapshots {
      for image in images { try makeSharing(image, round: round) }
      // The kernel has changed the tree, alike on both.
      lastTree = nil
    }
    if options.variant.isBalanced, round > 1 {
      for image in images { try balance(image) }
    }
    let kernel = try perform(round: round, image: kernelImage, peer: .kernel)
    let peer = try perform(round: round, image: peerImage, peer: options.peer)
    let names = ("the kernel's", options.peer == .kernel ? "the other kernel's" : "fsmount's")
    try compareTraces(kernel.trace, peer.trace, names)
    try kernel.tree.expectSame(as: peer.tree, names: names, exactHoles: options.exactHoles)
    lastTree = kernel.tree
    try judge(kernelImage, writer: .kernel)
    try judge(peerImage, writer: options.peer)
    let seconds = monotonicSeconds() - start
    options.report(
      "\(options.variant) seed \(options.seed) round \(round): \(kernel.trace.count) operations, "
        + "\(kernel.tree.entries.count) entries, \(kernel.tree.totalBytes >> 10) KiB, "
        + "\(Int(seconds * 1000)) ms")
  }

  private struct Outcome {
    let trace: [String]
    let tree: TreeSnapshot
  }

  private func perform(
    round: Int, image: String, peer: MountKind
  ) throws -> Outcome {
    // Each image has both sides' mounts in turn.
    let turn = round + (peer == options.peer ? 1 : 0)
    let mounted = try peer.mount(
      image, at: mountPoint,
      options: peer == .fsmount
        ? options.variant.fsmountOptions(turn: round) + options.peerMountOptions
        : options.variant.kernelOptions(turn: turn))
    defer { try? mounted.unmount() }
    let root = BytePath(mountPoint)
    if let lastTree {
      // What the other side has left behind, seen through this side.
      let found = try TreeSnapshot(root, sync: false)
      try lastTree.expectSame(
        as: found, names: ("as it was written", "as \(peer) reads it after remounting"),
        exactHoles: options.exactHoles)
    }
    let seed = options.seed &* 1_000 &+ UInt64(round)
    var sequenceOptions = SequenceOptions(seed: seed)
    sequenceOptions.operations = options.operations
    sequenceOptions.exactHoles = options.exactHoles
    sequenceOptions.isCompressible = options.variant.isCompressed
    sequenceOptions.allocatesBeyondTheEnd = !options.variant.withoutFeatures.contains("no-holes")
    let sequence = try OperationSequence(
      root: root, options: sequenceOptions, protected: protectedNames(round: round))
    let trace = try sequence.run()
    try mounted.sync()
    let tree = try TreeSnapshot(root)
    try mounted.unmount()
    if let kernel = mounted as? LoopMount {
      try kernel.expectCleanLog(tolerated: doubtful[image] ?? [])
    }
    return Outcome(trace: trace, tree: tree)
  }

  /// `btrfs check`, and fsmount's own inspection of the caches, which must be of one opinion.
  private func judge(_ image: String, writer: MountKind) throws {
    let check = try ImageCheck(image)
    if writer == .kernel {
      try check.expectSound(tolerated: check.doubtfulCaches)
      doubtful[image] = check.doubtfulCaches
    } else {
      // A group that we had no reason to touch keeps the cache that the kernel gave it.
      try check.expectSound(tolerated: doubtful[image] ?? [])
    }
    guard options.peer == .fsmount else { return }
    let verification = try FsmountProgram.run("cache", image, "--verify", timeout: 120)
    guard verification.status == (check.doubtfulCaches.isEmpty ? 0 : 1) else {
      throw TestFailure(
        "fsmount cache --verify does not agree with btrfs check, which doubts the caches of "
          + "\(check.doubtfulCaches.sorted())\n\(verification.summary)")
    }
  }

  private func compareTraces(
    _ mine: [String], _ theirs: [String], _ names: (String, String)
  ) throws {
    let differing = zip(mine, theirs).enumerated().first { !isSame($1.0, $1.1) }
    guard let index = differing?.offset else {
      if mine.count == theirs.count { return }
      throw TestFailure("the traces differ in length: \(mine.count) and \(theirs.count)")
    }
    let before = mine[max(0, index - 15)..<index].joined(separator: "\n  ")
    throw TestFailure(
      """
      the results differ. After
        \(before)
      \(names.0) result: \(mine[index])
      \(names.1) result: \(theirs[index])
      """)
  }

  /// In a read-only snapshot the kernel's btrfs refuses before names are looked at. On FUSE the
  /// kernel looks at the names itself, before it asks us.
  private func isSame(_ mine: String, _ theirs: String) -> Bool {
    if mine == theirs { return true }
    guard options.peer == .fsmount, mine.contains("snap-ro-") else { return false }
    let mine = mine.split(separator: " ")
    let theirs = theirs.split(separator: " ")
    return mine.count == theirs.count
      && zip(mine, theirs).allSatisfy { mine, theirs in
        mine == theirs
          || mine == "EROFS" && Self.answersOfNames.contains(theirs)
      }
  }

  private static let answersOfNames: Set<Substring> = [
    "EISDIR", "ENOTDIR", "EEXIST", "ENOTEMPTY", "EPERM",
  ]

  // MARK: - Snapshots and reflinks

  private func protectedNames(round: Int) -> Set<String> {
    guard options.variant.hasSnapshots else { return [] }
    return Set(["tree"] + (1...round).flatMap { ["snap-\($0)", "snap-ro-\($0)"] })
  }

  /// Lets the kernel share tree blocks (snapshots) and extents (reflinks), and drop some sharing.
  private func makeSharing(_ image: String, round: Int) throws {
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
  private func balance(_ image: String) throws {
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

import Glibc

/// The same seeded operations on a kernel mount of one image and on a peer's mount of its twin,
/// for some rounds, the sides swapping images each round: what one has written, the other goes on
/// with. After each round all results, both trees, and both images must agree.
package final class DifferentialRun {
  let options: DifferentialOptions
  private let directory: TemporaryDirectory
  let mountPoint: String
  private let images: [String]
  private var lastTree: TreeSnapshot?
  /// Groups of an image whose cache the kernel, writing last, left in doubt.
  private(set) var doubtful: [String: Set<Int>] = [:]
  private var readOnlySubvolumes: Set<BytePath> = []
  /// What the kernel's tool says of the subvolumes of each image, as the last round left it.
  private var listings: [String: SubvolumeListings] = [:]

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
    if options.variant.changesSubvolumes { readOnlySubvolumes = try receiveSubvolume(images[0]) }
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
    if let mine = kernel.listings, let theirs = peer.listings {
      listings = try judgeListings(
        kernel: (kernelImage, mine), peer: (peerImage, theirs), names: names)
      readOnlySubvolumes = kernel.readOnlySubvolumes
    }
    let seconds = monotonicSeconds() - start
    options.report(
      "\(options.variant) seed \(options.seed) round \(round): \(kernel.trace.count) operations, "
        + "\(kernel.tree.entries.count) entries, \(kernel.tree.totalBytes >> 10) KiB, "
        + "\(Int(seconds * 1000)) ms")
  }

  private struct Outcome {
    let trace: [String]
    let tree: TreeSnapshot
    let readOnlySubvolumes: Set<BytePath>
    /// Nil where the variant does not change subvolumes.
    let listings: SubvolumeListings?
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
    let tool = options.variant.changesSubvolumes ? SubvolumeTool(peer) : nil
    if let tool, let last = listings[image] {
      try last.expectSame(
        as: SubvolumeListings(tool, mountPoint),
        names: ("btrfs after the last round", "\(peer) after remounting"))
    }
    let seed = options.seed &* 1_000 &+ UInt64(round)
    var sequenceOptions = SequenceOptions(seed: seed)
    sequenceOptions.operations = options.operations
    sequenceOptions.exactHoles = options.exactHoles
    sequenceOptions.isCompressible = options.variant.isCompressed
    sequenceOptions.allocatesBeyondTheEnd = !options.variant.withoutFeatures.contains("no-holes")
    sequenceOptions.subvolumes = tool
    sequenceOptions.readOnlySubvolumes = readOnlySubvolumes
    let sequence = try OperationSequence(
      root: root, options: sequenceOptions, protected: protectedNames(round: round))
    let trace = try sequence.run()
    try mounted.sync()
    let tree = try TreeSnapshot(root)
    if tool != nil {
      // Inodes without a name go when the kernel forgets them, which it does in its own time.
      try writeFile(BytePath("/proc/sys/vm/drop_caches"), Array("2".utf8))
      try mounted.sync()
    }
    let listings = try tool.map { try SubvolumeListings($0, mountPoint) }
    try mounted.unmount()
    if let kernel = mounted as? LoopMount {
      try kernel.expectCleanLog(tolerated: doubtful[image] ?? [])
    }
    return Outcome(
      trace: trace, tree: tree, readOnlySubvolumes: sequence.readOnlySubvolumes,
      listings: listings)
  }

  /// `btrfs check`, and fsmount's own inspection of the caches, which must be of one opinion.
  func judge(_ image: String, writer: MountKind) throws {
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
  /// kernel looks at the names itself, before it asks us. In the empty directory that stands for a
  /// subvolume nothing can be made in either case, and fsmount says first that the snapshot is read-only.
  private func isSame(_ mine: String, _ theirs: String) -> Bool {
    if mine == theirs { return true }
    guard options.peer == .fsmount,
      mine.contains("snap-ro-") || mine.contains(OperationSequence.readOnlyMark)
    else { return false }
    let isInStub = mine.contains(" stub ")
    let mine = mine.split(separator: " ")
    let theirs = theirs.split(separator: " ")
    return mine.count == theirs.count
      && zip(mine, theirs).allSatisfy { mine, theirs in
        mine == theirs
          || mine == "EROFS" && Self.answersOfNames.contains(theirs)
          || isInStub && theirs == "EROFS" && ["EPERM", "EACCES"].contains(mine)
      }
  }

  private static let answersOfNames: Set<Substring> = [
    "EISDIR", "ENOTDIR", "EEXIST", "ENOTEMPTY", "EPERM",
  ]
}

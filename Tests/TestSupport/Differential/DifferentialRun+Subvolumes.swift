/// Subvolumes that each side changes by its own tool.
extension DifferentialRun {
  /// Gives an image a subvolume that was received, beside the one that was sent; returns those that are
  /// read-only.
  func receiveSubvolume(_ image: String) throws -> Set<BytePath> {
    let mounted = try LoopMount(
      image, at: mountPoint, options: options.variant.kernelOptions(turn: 0))
    defer { try? mounted.unmount() }
    let script = """
      set -e; set -o pipefail; cd "$1"
      btrfs -q subvolume create source; seq 1 20000 > source/file; mkdir received
      btrfs -q subvolume snapshot -r source sent
      btrfs -q send sent 2>/dev/null | btrfs -q receive received
      """
    try Shell.run("bash", "-c", script, "script", mountPoint).orThrow()
    try mounted.unmount()
    try mounted.expectCleanLog()
    return [BytePath("sent"), BytePath("received/sent")]
  }

  /// Twins have the same subvolumes in the same places. Of each image both tools say the same, byte for
  /// byte: while it is mounted, and at rest. Returns that.
  func judgeListings(
    kernel: (image: String, listings: SubvolumeListings),
    peer: (image: String, listings: SubvolumeListings), names: (String, String)
  ) throws -> [String: SubvolumeListings] {
    let (mine, theirs) = (kernel.listings.described, peer.listings.described)
    guard mine == theirs else {
      let lines =
        Set(mine).subtracting(theirs).sorted().map { "\(names.0): \($0)" }
        + Set(theirs).subtracting(mine).sorted().map { "\(names.1): \($0)" }
      throw TestFailure("the subvolumes differ:\n" + lines.joined(separator: "\n"))
    }
    var listings: [String: SubvolumeListings] = [:]
    for (side, name) in [(kernel, names.0), (peer, names.1)] {
      let (image, live) = (side.image, side.listings)
      let mounted = try LoopMount(image, at: mountPoint, options: "ro,noatime,subvolid=5")
      defer { try? mounted.unmount() }
      let atRest = try SubvolumeListings(SubvolumeTool(.kernel), mountPoint)
      try mounted.unmount()
      try live.expectSame(as: atRest, names: ("on \(name) mount", "btrfs afterwards"))
      if options.peer == .fsmount {
        try SubvolumeListings(SubvolumeTool(.fsmount), image).expectSame(
          as: atRest, names: ("fsmount, of the image", "btrfs"))
      }
      listings[image] = atRest
    }
    return listings
  }
}

/// How an image is made.
package struct ImageVariant: Sendable, CustomStringConvertible {
  package var name: String
  package var nodeSize = 16384
  package var metadata = "dup"
  package var data = "single"
  package var checksum = "crc32c"
  package var isMixed = false
  /// The sequence works in a subvolume, of which the kernel makes snapshots, and in them.
  package var hasSnapshots = false
  /// The sequence makes, changes and deletes subvolumes, each side by its own tool.
  package var changesSubvolumes = false
  /// Features that mkfs.btrfs is to leave out: those of old images.
  package var withoutFeatures: [String] = []
  /// Before each turn but the first the kernel balances the image: every extent moves.
  package var isBalanced = false
  package var size = "3G"
  package var record = Record.v1
  /// How each mount compresses, in turn; an empty one does not.
  package var compression: [String] = []

  package var isCompressed: Bool { !compression.isEmpty }

  /// What keeps free space in the image.
  package enum Record: Sendable {
    case v1
    case v2
    /// A free space tree, and block group items in a tree of their own.
    case blockGroupTree
    /// v1 at first; then each mount of the image makes it v1, v2 or nothing.
    case changing
  }

  package init(name: String) { self.name = name }

  package var description: String { name }

  package static let all: [ImageVariant] = {
    func make(_ name: String, _ change: (inout ImageVariant) -> Void) -> ImageVariant {
      var variant = ImageVariant(name: name)
      change(&variant)
      return variant
    }
    return [
      ImageVariant(name: "plain"),
      make("node4k") { $0.nodeSize = 4096 },
      make("node64k") { $0.nodeSize = 65536 },
      make("single") { $0.metadata = "single" },
      make("dup-data") { $0.data = "dup" },
      make("xxhash") { $0.checksum = "xxhash" },
      make("sha256") { $0.checksum = "sha256" },
      make("blake2") { $0.checksum = "blake2" },
      make("mixed") {
        $0.isMixed = true
        $0.nodeSize = 4096
        $0.metadata = "single"
      },
      make("v2") { $0.record = .v2 },
      make("v2-node4k") {
        $0.record = .v2
        $0.nodeSize = 4096
      },
      make("v2-mixed") {
        $0.record = .v2
        $0.isMixed = true
        $0.nodeSize = 4096
        $0.metadata = "single"
      },
      make("block-group-tree") { $0.record = .blockGroupTree },
      make("record-changes") { $0.record = .changing },
      make("snapshots") { $0.hasSnapshots = true },
      make("snapshots-v2") {
        $0.record = .v2
        $0.hasSnapshots = true
      },
      make("snapshots4k") {
        $0.hasSnapshots = true
        $0.nodeSize = 4096
        $0.metadata = "single"
        $0.checksum = "xxhash"
      },
      make("non-skinny") { $0.withoutFeatures = ["skinny-metadata"] },
      make("old") {
        $0.withoutFeatures = ["skinny-metadata", "no-holes", "extref"]
        $0.nodeSize = 4096
      },
      make("balanced") { $0.isBalanced = true },
      make("zstd") { $0.compression = ["compress-force=zstd:3"] },
      make("zlib-snapshots") {
        $0.compression = ["compress=zlib"]
        $0.hasSnapshots = true
      },
      make("lzo4k") {
        $0.compression = ["compress-force=lzo"]
        $0.nodeSize = 4096
        $0.metadata = "single"
      },
      make("compression-changes") {
        $0.compression = ["compress=zstd:9", "", "compress-force=zlib:1", "compress=lzo"]
        $0.checksum = "xxhash"
      },
      make("zstd-old") {
        $0.compression = ["compress-force=zstd:1"]
        $0.withoutFeatures = ["skinny-metadata", "no-holes", "extref"]
        $0.nodeSize = 4096
      },
      make("zstd-balanced") {
        $0.compression = ["compress=zstd"]
        $0.isBalanced = true
        $0.hasSnapshots = true
      },
      make("subvolumes") { $0.changesSubvolumes = true },
      make("subvolumes-v2") {
        $0.changesSubvolumes = true
        $0.record = .v2
        $0.nodeSize = 4096
      },
      make("subvolumes-zstd") {
        $0.changesSubvolumes = true
        $0.compression = ["compress-force=zstd:3", "compress=zlib", ""]
      },
      make("balanced-snapshots") {
        $0.isBalanced = true
        $0.hasSnapshots = true
        $0.withoutFeatures = ["skinny-metadata"]
      },
    ]
  }()

  package static func named(_ name: String) -> ImageVariant? { all.first { $0.name == name } }

  /// How the kernel mounts the image; `turn` counts the mounts.
  package func kernelOptions(turn: Int) -> String {
    recordOptions(turn: turn) + compression(turn: turn).map { ",\($0)" }.joined()
      + (changesSubvolumes ? ",subvolid=5" : "")
  }

  /// What a mount is told of compression, if anything.
  private func compression(turn: Int) -> [String] {
    guard isCompressed else { return [] }
    return [compression[turn % compression.count]].filter { !$0.isEmpty }
  }

  private func recordOptions(turn: Int) -> String {
    switch record {
    case .v1: LoopMount.kernelOptions
    case .v2, .blockGroupTree: "space_cache=v2,noatime"
    case .changing:
      // Without clear_cache the kernel never gives a free space tree up.
      [
        "clear_cache,space_cache=v2", "clear_cache,space_cache=v1", "clear_cache,nospace_cache",
      ][turn % 3] + ",noatime"
    }
  }

  /// What fsmount is told of the record and of compression, with a comma behind it; `turn` counts the
  /// mounts.
  package func fsmountOptions(turn: Int) -> String {
    let compression =
      compression(turn: turn).map { "\($0)," }.joined() + (changesSubvolumes ? "subvolid=5," : "")
    guard record == .changing else { return compression }
    return compression + ["space_cache=v1,", "nospace_cache,", "space_cache=v2,", ""][turn % 4]
  }

  /// An image by `mkfs.btrfs`, or where that cannot make such images by `fsmount mkfs`.
  package func makeWithKernelTools(_ image: String) throws {
    guard record != .blockGroupTree else { return try makeWithFsmount(image) }
    try Shell.run("truncate", "-s", size, image).orThrow()
    var arguments = [
      "mkfs.btrfs", "-q", "-f", "-R", record == .v2 ? "free-space-tree" : "^free-space-tree",
      "-n", "\(nodeSize)", "-m", metadata, "-d", data, "--csum", checksum,
    ]
    if isMixed { arguments.append("-M") }
    if !withoutFeatures.isEmpty {
      arguments += ["-O", withoutFeatures.map { "^\($0)" }.joined(separator: ",")]
    }
    try Shell.run(arguments + [image]).orThrow()
  }

  /// The same by `fsmount mkfs`, which makes images of today only.
  package func makeWithFsmount(_ image: String) throws {
    guard withoutFeatures.isEmpty else {
      throw TestFailure("fsmount mkfs makes no \(name) images")
    }
    var arguments = [
      "mkfs", "--size", size, "--nodesize", "\(nodeSize)", "--metadata", metadata, "--data", data,
      "--csum", checksum,
    ]
    if isMixed { arguments.append("--mixed") }
    if record == .v2 { arguments += ["--space-cache", "v2"] }
    if record == .blockGroupTree { arguments.append("--block-group-tree") }
    try FsmountProgram.run(arguments + [image]).orThrow()
  }
}

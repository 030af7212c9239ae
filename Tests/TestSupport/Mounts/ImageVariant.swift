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
  package var size = "3G"

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
      make("snapshots") { $0.hasSnapshots = true },
      make("snapshots4k") {
        $0.hasSnapshots = true
        $0.nodeSize = 4096
        $0.metadata = "single"
        $0.checksum = "xxhash"
      },
    ]
  }()

  package static func named(_ name: String) -> ImageVariant? { all.first { $0.name == name } }

  /// An image by `mkfs.btrfs`.
  package func makeWithKernelTools(_ image: String) throws {
    try Shell.run("truncate", "-s", size, image).orThrow()
    var arguments = [
      "mkfs.btrfs", "-q", "-f", "-R", "^free-space-tree", "-n", "\(nodeSize)", "-m", metadata,
      "-d", data, "--csum", checksum,
    ]
    if isMixed { arguments.append("-M") }
    try Shell.run(arguments + [image]).orThrow()
  }

  /// The same by `fsmount mkfs`.
  package func makeWithFsmount(_ image: String) throws {
    var arguments = [
      "mkfs", "--size", size, "--nodesize", "\(nodeSize)", "--metadata", metadata, "--data", data,
      "--csum", checksum,
    ]
    if isMixed { arguments.append("--mixed") }
    try FsmountProgram.run(arguments + [image]).orThrow()
  }
}

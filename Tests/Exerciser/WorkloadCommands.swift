import ArgumentParser
import TestSupport

struct StressCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stress",
    abstract: "Many threads in shared directories; whatever is read must be right.")

  @Argument(help: "A directory of the file system to exercise.")
  var directory: String

  @Option(help: "Number of threads.")
  var threads = 4

  @Option(help: "How long.")
  var seconds = 10.0

  @Option(help: "The seed.")
  var seed: UInt64 = 1

  func run() throws {
    var options = StressWorkload.Options()
    options.threads = threads
    options.seconds = seconds
    options.seed = seed
    let workload = StressWorkload(directory: BytePath(directory), options: options)
    let count = try workload.run()
    say("stress: \(count) operations by \(threads) threads in \(rounded(seconds)) s, all right")
  }
}

struct WorkloadCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "workload",
    abstract: "A verified random workload with a short summary.")

  @Argument(help: "An empty directory of the file system to exercise.")
  var directory: String

  @Option(help: "The seed.")
  var seed: UInt64 = 1

  @Option(help: "How long the threads work.")
  var seconds = 4.0

  func run() throws {
    try VerifiedWorkload(directory: BytePath(directory), seed: seed).run(seconds: seconds)
  }
}

struct ScaleCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "scale",
    abstract: "Millions of files and a sparse file of 1 TiB, or thousands of snapshots, in bounds.",
    discussion: "Makes an image, mounts it with fsmount, and has Linux judge it.")

  @Option(help: "Number of files.")
  var files = 4_000_000

  @Option(help: "How many go into one directory.")
  var perDirectory = 1_000_000

  @Option(help: "Blocks of 4 KiB written into the sparse file.")
  var blocks = 50_000

  @Option(help: "Instead of files: this many snapshots, which Linux makes. Needs root.")
  var snapshots = 0

  @Flag(help: "The snapshots are made, and most of them deleted in the end, by fsmount.")
  var own = false

  @Option(help: "In how many of the snapshots a file is changed.")
  var changed = 300

  @Option(help: "MiB for cache=.")
  var cache = 64

  @Option(help: "MiB that the process may take beside it.")
  var overhead = 48

  @Option(help: "The seed.")
  var seed: UInt64 = 1

  @Option(help: "Where to make the image; else in memory, when there is some for files.")
  var directory: String?

  func validate() throws {
    guard snapshots >= 0, (0...max(snapshots, 300)).contains(changed) else {
      throw ValidationError("no more snapshots can be changed than there are")
    }
  }

  func run() throws {
    if snapshots > 0 {
      try runSnapshots()
    } else {
      try runFiles()
    }
    say("scale: all right")
  }

  private func runSnapshots() throws {
    guard isRoot else { return say("SKIPPED: snapshots need root, for the kernel's loop mounts") }
    var options = SnapshotsOnImage.Options()
    options.snapshots = snapshots
    options.areOwn = own
    options.changed = min(changed, snapshots)
    options.cacheMebibytes = cache
    options.overheadMebibytes = overhead
    options.directory = directory
    try SnapshotsOnImage(options).run()
  }

  private func runFiles() throws {
    var options = ScaleOnImage.Options()
    options.work.files = files
    options.work.perDirectory = perDirectory
    options.work.blocks = blocks
    options.work.seed = seed
    options.cacheMebibytes = cache
    options.overheadMebibytes = overhead
    options.directory = directory
    try ScaleOnImage(options).run()
  }
}

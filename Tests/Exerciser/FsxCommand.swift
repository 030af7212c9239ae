import ArgumentParser
import TestSupport

struct FsxCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fsx",
    abstract: "Random operations on one file, every byte compared with a model.")

  @Argument(help: "A directory of the file system to exercise.")
  var directory: String?

  @Option(help: "Make an image, mount it with 'fsmount' or 'kernel', and remount it now and then.")
  var mount: String?

  @Option(help: "Number of operations.")
  var ops = 100_000

  @Option(help: "The seed; the same seed gives the same operations.")
  var seed: UInt64 = 1

  @Option(help: "No offset reaches beyond it.")
  var size = 256 << 10

  @Option(help: "The name of the file.")
  var name = "fsx"

  @Flag(help: "Use O_DIRECT for some reads and writes.")
  var direct = false

  @Flag(inversion: .prefixedNo, help: "Read and write through mappings as well.")
  var mapping = true

  @Flag(help: "Write bytes that can be compressed, mostly.")
  var compressible = false

  @Option(help: "Options of the mount.")
  var options = ""

  func validate() throws {
    guard (directory == nil) != (mount == nil) else {
      throw ValidationError("give either a directory or --mount")
    }
    guard mount == nil || MountKind(rawValue: mount!) != nil else {
      throw ValidationError("--mount is 'fsmount' or 'kernel'")
    }
  }

  func run() throws {
    var options = FsxOptions(seed: seed)
    options.operations = ops
    options.maximumSize = size
    options.usesDirectIO = direct
    options.usesMapping = mapping
    options.isCompressible = compressible
    let start = monotonicSeconds()
    let counts: [String: Int]
    if let kind = mount.flatMap(MountKind.init) {
      let run = try FsxOnImage(kind: kind, mountOptions: self.options)
      counts = try run.run(options)
    } else {
      let fsx = try FsxModel(directory: BytePath(directory ?? "."), name: name, options: options)
      try fsx.run()
      counts = fsx.counts
    }
    let seconds = monotonicSeconds() - start
    say("fsx: \(ops) operations with seed \(seed) in \(rounded(seconds)) s, every byte right")
    for (name, count) in counts.sorted(by: { $0.value > $1.value }) {
      say("  \(count)\t\(name)")
    }
  }
}

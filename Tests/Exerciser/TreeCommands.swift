import ArgumentParser
import TestSupport

struct SequenceCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sequence",
    abstract: "A seeded sequence of operations; prints the result of each.")

  @Argument(help: "The directory to work in.")
  var directory: String

  @Option(help: "Number of operations.")
  var ops = 1_000

  @Option(help: "The seed; the same seed on the same tree gives the same operations.")
  var seed: UInt64 = 1

  @Flag(help: "Compare holes exactly as the file system reports them.")
  var exactHoles = false

  func run() throws {
    var options = SequenceOptions(seed: seed)
    options.operations = ops
    options.exactHoles = exactHoles
    let sequence = try OperationSequence(root: BytePath(directory), options: options)
    for line in try sequence.run() { print(line) }
  }
}

struct SnapshotCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "snapshot",
    abstract: "Prints all that a comparison of two trees would look at.")

  @Argument(help: "The directory to record.")
  var directory: String

  @Option(help: "Compare with this directory instead of printing.")
  var against: String?

  @Flag(help: "Print one number for the whole tree.")
  var digest = false

  @Flag(help: "Compare holes exactly as the file systems report them.")
  var exactHoles = false

  func run() throws {
    let snapshot = try TreeSnapshot(BytePath(directory))
    if let against {
      try snapshot.expectSame(
        as: try TreeSnapshot(BytePath(against)), names: (directory, against),
        exactHoles: exactHoles)
      say("the same: \(snapshot.entries.count) entries, \(snapshot.totalBytes) bytes")
    } else if digest {
      say("\(hexadecimal(snapshot.digest)) \(snapshot.entries.count) entries")
    } else {
      for entry in snapshot.entries { print(entry.line) }
    }
  }
}

struct DifferentialCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "differential",
    abstract: "The same operations on a kernel mount and on ours, all results compared.",
    discussion: "Needs root. Variants: \(ImageVariant.all.map(\.name).joined(separator: ", ")).")

  @Option(help: "Rounds for each variant; the sides swap images after each.")
  var rounds = 4

  @Option(help: "Operations a round.")
  var ops = 800

  @Option(help: "The seed.")
  var seed: UInt64 = 1

  @Option(help: "A variant, or 'all'.")
  var variant = "all"

  @Option(help: "What stands against the kernel: fsmount or kernel.")
  var peer = "fsmount"

  @Option(help: "Options of the fsmount mounts.")
  var options = "noatime,default_permissions"

  @Flag(help: "Compare holes exactly as the file systems report them.")
  var exactHoles = false

  @Flag(help: "Make the images with fsmount mkfs.")
  var fsmountImage = false

  func validate() throws {
    guard variant == "all" || ImageVariant.named(variant) != nil else {
      throw ValidationError("there is no variant '\(variant)'")
    }
    guard MountKind(rawValue: peer) != nil else {
      throw ValidationError("there is no peer '\(peer)'")
    }
  }

  func run() throws {
    guard isRoot else {
      say("SKIPPED: differential needs root, for the kernel's loop mounts")
      return
    }
    let variants = ImageVariant.named(variant).map { [$0] } ?? ImageVariant.all
    for variant in variants {
      var run = DifferentialOptions(variant: variant, seed: seed)
      run.peer = MountKind(rawValue: peer) ?? .fsmount
      run.rounds = rounds
      run.operations = ops
      run.exactHoles = exactHoles
      run.usesFsmountImage = fsmountImage
      run.peerMountOptions = options
      run.report = { say($0) }
      try DifferentialRun(run).run()
    }
    say("no difference")
  }
}

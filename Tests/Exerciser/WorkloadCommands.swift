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

import ArgumentParser

/// Drives any mounted directory, whatever has mounted it.
@main
struct Exerciser: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "exerciser",
    abstract: "Works hard on mounted file systems and compares what they do.",
    subcommands: [
      FsxCommand.self, SequenceCommand.self, SnapshotCommand.self, DifferentialCommand.self,
      StressCommand.self, WorkloadCommand.self, ScaleCommand.self, FillCommand.self,
    ])
}

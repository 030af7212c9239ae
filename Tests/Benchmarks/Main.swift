import ArgumentParser

/// Measures; what drives mounts without measuring is the exerciser.
@main
struct Benchmarks: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "benchmarks",
    abstract:
      "Measures mounts, applications on them, the core alone, and one build against another.",
    subcommands: [
      MountsCommand.self, ApplicationsCommand.self, ShowCommand.self, CoreCommand.self,
      GroupsCommand.self, CompressionCommand.self, CompareCommand.self, CompareCoreCommand.self,
      PlacementCommand.self,
    ])
}

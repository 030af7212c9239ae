import ArgumentParser
import FSCore
import Glibc

struct Fsmount: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fsmount",
    abstract: "btrfs images, mounted read-write by an ordinary program.",
    discussion: """
      'fsmount IMAGE MOUNTPOINT [-o OPTIONS]' is the same as 'fsmount mount', so that mount(8) \
      can call it: 'mount -t fuse.fsmount IMAGE MOUNTPOINT'.

      To begin with:
        fsmount mkfs --size 4G disk.img
        fsmount mount disk.img DIRECTORY
        fsmount unmount DIRECTORY

      The manual page, fsmount(8), has more examples, all mount options and what exit statuses mean.
      """,
    version: Version.text,
    subcommands: [
      MkfsCommand.self, MountCommand.self, UnmountCommand.self, SyncCommand.self,
      TrimCommand.self, StatsCommand.self, UsageCommand.self, BalanceCommand.self,
      ResizeCommand.self, SubvolumeCommand.self, ReflinkCommand.self, MapCommand.self,
      CacheCommand.self, InspectCommand.self,
    ],
    defaultSubcommand: MountCommand.self)
}

@main
enum Main {
  static func main() {
    do {
      try Arguments.requireUTF8()
      var command = try command(Array(CommandLine.arguments.dropFirst()))
      try command.run()
      StandardOutput.flush()
    } catch {
      fail(error)
    }
  }

  /// What arguments ask for, those included that the parser does not know by itself.
  static func command(_ arguments: [String]) throws -> any ParsableCommand {
    if let failure = unknownCommand(arguments) { throw failure }
    let expanded = [
      ResizeCommand.expanded, BalanceStart.expanded, SubvolumeListCommand.expanded,
    ].reduce(arguments) { $1($0) }
    if let failure = bundleWithHelp(expanded) { throw failure }
    return try Fsmount.parseAsRoot(expanded)
  }

  /// For words that are no commands where commands stand. The first one may be an image, too: the parser
  /// would take it for one, and ask for a mount point.
  private static func unknownCommand(_ arguments: [String]) -> CommandFailure? {
    guard let word = arguments.first, !isOption(word) else { return nil }
    guard let command = command(named: word, of: Fsmount.self) else {
      if word.contains("/") || word == "help" || access(word, F_OK) == 0 { return nil }
      let places = Fsmount.configuration.subcommands.filter {
        self.command(named: word, of: $0) != nil
      }.map { "'fsmount \($0._commandName) \(word)'" }
      let hint =
        places.isEmpty
        ? "'fsmount --help' lists the commands" : "there is \(places.joined(separator: ", and "))"
      return CommandFailure(
        "'\(word)' is neither a command of fsmount nor an image; \(hint)", status: .usage)
    }
    let others = command.configuration.subcommands
    guard !others.isEmpty, arguments.count > 1, !isOption(arguments[1]), arguments[1] != "help",
      self.command(named: arguments[1], of: command) == nil
    else { return nil }
    let names = others.map { $0._commandName }.joined(separator: ", ")
    return CommandFailure(
      "'\(arguments[1])' is no command of 'fsmount \(word)'; there are \(names)", status: .usage)
  }

  /// For several letters after one dash of which one is h: the parser would take them for a call for
  /// help and succeed, where somebody has named something `-dash`.
  private static func bundleWithHelp(_ arguments: [String]) -> CommandFailure? {
    var previous = ""
    for argument in arguments {
      if argument == "--" { break }
      defer { previous = argument }
      // Its value may begin with a dash.
      guard previous != "--sort", argument.hasPrefix("-"), !argument.hasPrefix("--"),
        argument.count > 2, argument.prefix(while: { $0 != "=" }).contains("h")
      else { continue }
      return CommandFailure(
        "there is no option '\(argument)'; the name of a file that begins with a dash is to be written "
          + "'./\(argument)'", status: .usage)
    }
    return nil
  }

  private static func isOption(_ word: String) -> Bool { word.isEmpty || word.hasPrefix("-") }

  private static func command(
    named word: String, of parent: any ParsableCommand.Type
  ) -> (any ParsableCommand.Type)? {
    parent.configuration.subcommands.first {
      $0._commandName == word || $0.configuration.aliases.contains(word)
    }
  }

  private static func fail(_ error: any Error) -> Never {
    switch error {
    case let failure as CommandFailure:
      StandardError.write("fsmount: \(failure)")
      exit(failure.status.rawValue)

    case let failure as FilesystemError:
      StandardError.write("fsmount: \(failure)")
      exit(CommandFailure.Status.failed.rawValue)

    default:
      // mount(8) expects 1 where the parser would say 64.
      guard Fsmount.exitCode(for: error) == .validationFailure else {
        Fsmount.exit(withError: error)
      }
      StandardError.write(Fsmount.fullMessage(for: error))
      exit(CommandFailure.Status.usage.rawValue)
    }
  }
}

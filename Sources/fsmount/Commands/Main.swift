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
      var command = try command(Array(CommandLine.arguments.dropFirst()))
      try command.run()
    } catch {
      fail(error)
    }
  }

  /// What arguments ask for, those included that the parser does not know by itself.
  static func command(_ arguments: [String]) throws -> any ParsableCommand {
    if let first = arguments.first, isNothing(first) {
      throw CommandFailure(
        "'\(first)' is neither a command of fsmount nor an image; 'fsmount --help' lists the commands",
        status: .usage)
    }
    return try Fsmount.parseAsRoot(BalanceStart.expanded(ResizeCommand.expanded(arguments)))
  }

  /// Whether the first argument is a word that is neither a command nor a file: without a command it
  /// would be taken for an image.
  private static func isNothing(_ word: String) -> Bool {
    guard !word.isEmpty, !word.hasPrefix("-"), !word.contains("/"), word != "help" else {
      return false
    }
    let isCommand = Fsmount.configuration.subcommands.contains { type in
      type._commandName == word || type.configuration.aliases.contains(word)
    }
    return !isCommand && access(word, F_OK) != 0
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

import ArgumentParser
import FoundationEssentials
import Glibc
import Testing

@testable import fsmount

/// The manual page says all that the program takes, and nothing else. What it relies on in the page stands
/// at the page's beginning.
@Suite(.timeLimit(.minutes(2))) struct ManualPageTests {
  private static let path = "Documentation/fsmount.8"

  /// The page's lines; what roff writes as `\-` is a dash.
  private static func lines() throws -> [String] {
    let checkout = #filePath.split(separator: "/").dropLast(4).joined(separator: "/")
    let text = MountTable.readAll("/\(checkout)/\(path)")
    try #require(!text.isEmpty, "\(path) is not there")
    return text.replacing("\\-", with: "-").split(separator: "\n").map(String.init)
      .filter { !$0.hasPrefix(".\\\"") }
  }

  /// Lines below a heading, up to the next one of its rank.
  private static func section(_ heading: String, of lines: [String]) throws -> [String] {
    let start = try #require(lines.firstIndex(of: heading), "\(heading) is not there")
    return Array(lines[(start + 1)...].prefix { !$0.hasPrefix(".SH ") })
  }

  /// The words that are in bold: by `\fB…\fR`, and by a macro.
  private static func boldWords(_ line: String) -> [String] {
    if line.hasPrefix(".B ") { return line.dropFirst(3).split(separator: " ").map(String.init) }
    return line.split(separator: "\\fB", omittingEmptySubsequences: false).dropFirst().map {
      String($0.prefix { $0 != "\\" })
    }
  }

  // Commands.

  /// A command as the program describes it to other programs.
  private struct Command: Decodable {
    struct Argument: Decodable {
      struct Name: Decodable {
        var kind: String
        var name: String
      }

      var names: [Name]?
      var shouldDisplay: Bool
    }

    var commandName: String
    var aliases: [String]?
    var arguments: [Argument]?
    var subcommands: [Command]?

    /// `-x` and `--long`.
    var options: Set<String> {
      var options: Set<String> = []
      for argument in arguments ?? [] where argument.shouldDisplay {
        for name in argument.names ?? [] {
          options.insert(name.kind == "long" ? "--\(name.name)" : "-\(name.name)")
        }
      }
      return options.subtracting(["--help", "-h", "--version"])
    }

    /// This one and those below it, by all words that call them.
    func all(_ above: String = "") -> [String: Command] {
      let words = above.isEmpty ? commandName : "\(above) \(commandName)"
      var all = [words: self]
      for command in subcommands ?? [] where command.commandName != "help" {
        all.merge(command.all(words)) { one, _ in one }
      }
      return all
    }
  }

  private struct Tool: Decodable {
    var command: Command
  }

  private static func commands() throws -> [String: Command] {
    let text = Fsmount._dumpHelp()
    return try JSONDecoder().decode(Tool.self, from: Data(text.utf8)).command.all()
  }

  /// What `balance start` takes in a form that the parser does not know.
  private static let joined: [String: Set<String>] = ["fsmount balance start": ["-d", "-m", "-s"]]

  @Test func hasAllCommands() throws {
    let commands = try Self.commands().filter { $0.key != "fsmount" }
    #expect(commands.count > 25)
    let lines = try Self.section(".SH COMMANDS", of: Self.lines())
    var described: [String: Set<String>] = [:]
    var current: String?
    for line in lines {
      if line.hasPrefix(".SS ") {
        // Up to the first word that is an argument: those are in capitals, or in brackets.
        let words = line.dropFirst(4).filter { $0 != "\"" }.split(separator: " ")
        current = words.prefix { $0.allSatisfy { $0.isLowercase || $0 == "-" } }
          .joined(separator: " ")
        #expect(described[current!] == nil, "\(line) is there twice")
        described[current!] = []
      } else if let current {
        described[current]?.formUnion(Self.boldWords(line).filter { $0.hasPrefix("-") })
      }
    }
    #expect(Set(described.keys) == Set(commands.keys))
    for (name, command) in commands {
      let expected = command.options.union(Self.joined[name] ?? [])
      #expect(described[name] == expected, "options of \(name)")
      // Whether it says that there are options.
      let heading = lines.first {
        $0.hasPrefix(".SS \"\(name) ") && !$0.dropFirst(6 + name.count).first!.isLowercase
      }
      if command.subcommands == nil {
        #expect(heading?.contains("[OPTIONS]") == !expected.isEmpty, "\(name): \(heading ?? "")")
      }
      for alias in command.aliases ?? [] {
        #expect(lines.contains(".B fsmount \(alias)"), "\(alias) is not there")
      }
    }
  }

  @Test func hasAllMountOptions() throws {
    let lines = try Self.section(".SH MOUNT OPTIONS", of: Self.lines())
    let described = Set(
      lines.flatMap(Self.boldWords).map { $0.hasSuffix("=") ? String($0.dropLast()) : $0 }
    ).subtracting(["fsmount", "chattr", "+c"])
    #expect(described == Set(MountOptions.names))
  }

  /// What `fsmount help mount` says of options is true, too.
  @Test func helpKnowsMountOptions() {
    let help = Fsmount.helpMessage(for: MountCommand.self, columns: 200)
    let names = Set(MountOptions.names)
    for word in help.split(whereSeparator: { $0 == " " || $0 == "," || $0 == "\n" }) {
      guard let name = word.split(separator: "=").first, word.contains("="), !name.contains("'"),
        !name.contains("<")
      else { continue }
      #expect(names.contains(String(name.prefix { $0 != "[" })), "\(word)")
    }
  }

  /// What other sections say in the same words as the program.
  @Test func hasTheOtherSections() throws {
    let lines = try Self.lines()
    for heading in [
      "NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "MOUNT OPTIONS", "EXIT STATUS", "FILES",
      "THE CONTROL CHANNEL", "EXAMPLES", "SEE ALSO",
    ] {
      #expect(try !Self.section(".SH \(heading)", of: lines).isEmpty)
    }
    let statuses = try Self.section(".SH EXIT STATUS", of: lines)
    for status in [0, 1, 2, 32, 130] { #expect(statuses.contains(".B \(status)")) }
  }

  /// Where groff is installed it has nothing to say against the page.
  @Test(.enabled(if: access("/usr/bin/groff", X_OK) == 0))
  func isFormatted() throws {
    let checkout = #filePath.split(separator: "/").dropLast(4).joined(separator: "/")
    let command = "groff -man -Tutf8 -ww '/\(checkout)/\(Self.path)' 2>&1 >/dev/null"
    let pipe = try #require(popen(command, "r"))
    var said: [UInt8] = []
    while case let byte = fgetc(pipe), byte != EOF { said.append(UInt8(byte)) }
    #expect(pclose(pipe) == 0)
    #expect(said.isEmpty, "\(String(decoding: said, as: UTF8.self))")
  }
}

import ArgumentParser
import FSCore

struct BalanceCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "balance",
    abstract: "Move what is in block groups of a mount, and give the emptied ones back.",
    discussion: """
      A balance runs in the mount's process, while the mount is in use. It is remembered in the image: \
      when the mount ends before the balance has, the next mount goes on with it, Linux's too. The \
      user who mounted the image may do this; root may where the mount lets it in (-o allow_other or \
      allow_root).
      """,
    subcommands: [
      BalanceStart.self, BalanceStatusCommand.self, BalancePause.self, BalanceResume.self,
      BalanceCancel.self,
    ])
}

struct BalanceStart: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "start",
    abstract: "Begin a balance, and wait for its end.",
    discussion: """
      'fsmount balance start [-d[FILTERS]] [-m[FILTERS]] [-s[FILTERS]] MOUNTPOINT': data, metadata and \
      system block groups. Without any of them all move. What -m says is for system block groups \
      as well, unless -s is given. FILTERS are divided by commas, and follow the letter at once, as \
      in -dusage=50,limit=2:
        usage=N, usage=A..B   block groups that are used to less than N percent
        limit=N, limit=A..B   at most N block groups
        profiles=A|B          with one of these profiles: single, dup
        devid=N               with a copy on this device
        drange=A..B           that touch this range of the device
        vrange=A..B           that touch this range of logical addresses
        stripes=A..B          on so many devices, which is 1 for all
        convert=PROFILE       make what moves single or dup
        soft                  leave what has that profile already

      When interrupted, the command ends and the balance goes on.
      """)

  @Option(help: ArgumentHelp("The same as -dFILTERS: move data.", valueName: "filters"))
  var data: String?

  @Option(
    help: ArgumentHelp(
      "The same as -mFILTERS: move metadata, and system block groups.", valueName: "filters"))
  var metadata: String?

  @Option(
    help: ArgumentHelp(
      "The same as -sFILTERS: move system block groups by these filters; needs --force.",
      valueName: "filters"))
  var system: String?

  @Flag(name: .shortAndLong, help: "Let -s be given, and copies become fewer.")
  var force = false

  @Flag(name: [.customLong("background"), .customLong("bg")], help: "Do not wait for its end.")
  var background = false

  @Argument(help: ArgumentHelp("A directory or file in the mount.", valueName: "mountpoint"))
  var path: String

  /// No filters, for the parser: it knows no options whose value may be empty.
  private static let all = "all"

  /// The arguments of the program, with `-dFILTERS` as `--data=FILTERS`, and `-d` as `--data=all`.
  static func expanded(_ arguments: [String]) -> [String] {
    guard arguments.starts(with: ["balance", "start"]) else { return arguments }
    let names = ["-d": "data", "-m": "metadata", "-s": "system"]
    return arguments.map { argument in
      guard let name = names[String(argument.prefix(2))] else { return argument }
      return "--\(name)=\(argument.count > 2 ? String(argument.dropFirst(2)) : all)"
    }
  }

  /// What the mount is asked for. As with btrfs, what is said of metadata is for system block
  /// groups as well, unless these have filters of their own.
  var call: BalanceStartCall {
    func filters(_ text: String?) -> String? { text == Self.all ? "" : text }
    let movesAll = data == nil && metadata == nil && system == nil
    let ofMetadata = movesAll ? "" : filters(metadata)
    return BalanceStartCall(
      data: movesAll ? "" : filters(data), metadata: ofMetadata,
      system: filters(system) ?? ofMetadata, force: force ? true : nil)
  }

  func run() throws {
    guard force || system == nil else {
      throw CommandFailure(
        "filters of their own for system block groups are taken only with --force",
        status: .usage)
    }
    let call = call
    // What makes no sense is found out here, before the mount is asked.
    do throws(FilesystemError) {
      _ = try call.plan()
    } catch {
      throw CommandFailure("\(error)", status: .usage)
    }
    let report = try ControlChannel(path).ask(call)
    if background {
      print("\(path): the balance has begun; 'fsmount balance status \(path)' tells how it goes")
      return
    }
    try BalanceProgress(path: path).follow(from: report)
  }
}

struct BalanceStatusCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status",
    abstract: "Tell what a balance is at.",
    discussion: "Exits with 1 while one runs or is paused, as btrfs does.")

  @Flag(help: "Print JSON.")
  var json = false

  @Argument(help: ArgumentHelp("A directory or file in the mount.", valueName: "mountpoint"))
  var path: String

  func run() throws {
    let report = try ControlChannel(path).ask(BalanceStatusCall())
    if json {
      print(ControlJSON.text(report))
    } else {
      for line in BalanceText(report).lines(path) { print(line) }
    }
    if report.phase != "none" { throw ExitCode(1) }
  }
}

struct BalancePause: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pause", abstract: "Pause a balance.")

  @Argument(help: ArgumentHelp("A directory or file in the mount.", valueName: "mountpoint"))
  var path: String

  func run() throws {
    let report = try ControlChannel(path).ask(BalancePauseCall())
    try BalanceProgress(path: path).waitUntilStopped(from: report)
  }
}

struct BalanceResume: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "resume", abstract: "Go on with a balance that is paused, and wait for its end.")

  @Flag(name: [.customLong("background"), .customLong("bg")], help: "Do not wait for its end.")
  var background = false

  @Argument(help: ArgumentHelp("A directory or file in the mount.", valueName: "mountpoint"))
  var path: String

  func run() throws {
    let report = try ControlChannel(path).ask(BalanceResumeCall())
    if !background { try BalanceProgress(path: path).follow(from: report) }
  }
}

struct BalanceCancel: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cancel", abstract: "End a balance; what has moved stays where it is.")

  @Argument(help: ArgumentHelp("A directory or file in the mount.", valueName: "mountpoint"))
  var path: String

  func run() throws {
    let report = try ControlChannel(path).ask(BalanceCancelCall())
    try BalanceProgress(path: path).waitUntilStopped(from: report)
  }
}

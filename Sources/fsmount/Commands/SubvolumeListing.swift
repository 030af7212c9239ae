import ArgumentParser
import CFuse
import FSCore
import Glibc

/// Where subvolumes are listed: a mount, or an image that is not mounted.
struct SubvolumeSource {
  let path: String
  /// A path in the mount; nil for an image.
  let mount: String?

  init(_ path: String) {
    self.path = path
    mount = SubvolumePath.isDirectory(path) ? path : MountTable.mountPoint(ofImage: path)
  }

  func list() throws(CommandFailure) -> SubvolumeListCall.Answer {
    if let mount { return try ControlChannel(mount).ask(SubvolumeListCall()) }
    guard let status = SubvolumePath.status(path) else {
      throw CommandFailure.cannotOpen(path, errno)
    }
    let kind = status.st_mode & S_IFMT
    guard kind == S_IFREG || kind == S_IFBLK else { throw CommandFailure.notInMount(path) }
    do throws(FilesystemError) {
      let survey = SubvolumeSurvey(
        try ImageReader(device: try FileDevice(path: path, readOnly: true)))
      return SubvolumeListCall.Answer(
        try survey.listing(), defaultSubvolume: try survey.defaultSubvolume(),
        asked: InodeID(tree: .topLevel, number: .firstFree))
    } catch {
      throw CommandFailure("\(path): \(error)")
    }
  }

  /// Says what is damaged. Returns whether anything is.
  @discardableResult
  func tellProblems(_ answer: SubvolumeListCall.Answer) -> Bool {
    let problems = answer.problems ?? []
    for problem in problems { StandardError.write("fsmount: \(path): \(problem)") }
    return !problems.isEmpty
  }
}

struct SubvolumeListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract: "List the subvolumes and snapshots of a mount or an image.",
    discussion: """
      As 'btrfs subvolume list' prints them. Paths of what stands below the subvolume that PATH belongs \
      to are from there; all others are from the top level, as all are with -o. Of an image that is not \
      mounted, all are from the top level.

      What is damaged in an image is told on standard error, the rest is listed, and the exit status is \
      then 1.
      """)

  @Flag(
    name: [.customShort("o")],
    help: "List only what stands directly in the subvolume that PATH belongs to.")
  var below = false
  @Flag(
    name: [.customShort("a")],
    help: "Put <FS_TREE>/ before paths of what does not stand directly in that subvolume.")
  var all = false
  @Flag(name: [.customShort("p")], help: "Print the number of the parent.")
  var parent = false
  @Flag(name: [.customShort("c")], help: "Print the generation of creation.")
  var creation = false
  @Flag(
    name: [.customShort("g")], help: "Accepted for compatibility; the generation is always printed."
  )
  var generation = false
  @Flag(name: [.customShort("u")], help: "Print UUIDs.")
  var uuid = false
  @Flag(name: [.customShort("q")], help: "Print UUIDs of parents.")
  var parentUUID = false
  @Flag(name: [.customShort("R")], help: "Print UUIDs of what was received.")
  var receivedUUID = false
  @Flag(name: [.customShort("t")], help: "Print a table.")
  var table = false
  @Flag(name: [.customShort("s")], help: "List snapshots alone, with the time of creation.")
  var snapshotsOnly = false
  @Flag(name: [.customShort("r")], help: "List read-only subvolumes alone.")
  var readOnlyOnly = false
  @Flag(
    name: [.customShort("d")],
    help: "List deleted subvolumes alone, of which something is left.")
  var deletedOnly = false

  @Option(
    name: [.customShort("G", allowingJoined: true)], parsing: .unconditional,
    help: ArgumentHelp(
      "List those of this generation; +N: of it or later, -N: of it or before.", valueName: "n"),
    transform: Self.bound)
  var generations: SubvolumeSelection.Bound?

  @Option(
    name: [.customShort("C", allowingJoined: true)], parsing: .unconditional,
    help: ArgumentHelp(
      "The same for the generation of creation, which is then printed.", valueName: "n"),
    transform: Self.bound)
  var creations: SubvolumeSelection.Bound?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Sort by these, separated by commas: gen, ogen, rootid, path; with - before it, descending. "
        + "Without this option they are sorted by rootid, the number.",
      valueName: "keys"),
    transform: Self.sorting)
  var sort: Sorting?

  @Flag(
    help: ArgumentHelp(
      "Print JSON: all that is known of each, with paths from the top level. "
        + "Documentation/control-channel.md describes the keys, under subvolume_list."))
  var json = false

  @Argument(
    help: ArgumentHelp("A directory in the mount, or the image.", valueName: "path-or-image"))
  var path: String

  func validate() throws {
    if json, table { throw ValidationError("--json and -t are two forms; give one of them") }
  }

  private var selection: SubvolumeSelection {
    var selection = SubvolumeSelection()
    selection.form = all ? .marked : below ? .below : .relative
    selection.snapshotsOnly = snapshotsOnly
    selection.readOnlyOnly = readOnlyOnly
    selection.deletedOnly = deletedOnly
    selection.generation = generations
    selection.creationGeneration = creations
    selection.order = sort?.keys ?? []
    return selection
  }

  private var columns: [SubvolumeTable.Column] {
    var columns: [SubvolumeTable.Column] = [.id, .generation]
    if creation || snapshotsOnly || creations != nil { columns.append(.creationGeneration) }
    if parent { columns.append(.parent) }
    columns.append(.topLevel)
    if snapshotsOnly { columns.append(.creationTime) }
    if parentUUID { columns.append(.parentUUID) }
    if receivedUUID { columns.append(.receivedUUID) }
    if uuid { columns.append(.uuid) }
    return columns + [.path]
  }

  func run() throws {
    let source = SubvolumeSource(path)
    let answer = try source.list()
    let entries = selection.entries(of: answer)
    if json {
      print(ControlJSON.text(entries.map(\.report)))
    } else {
      let form = SubvolumeTable(columns: columns)
      let lines =
        table ? form.heading + entries.map { form.row($0) } : entries.map { form.line($0) }
      StandardOutput.write(lines)
    }
    if source.tellProblems(answer) { throw ExitCode(1) }
  }
}

// Values of options, as they are written.
extension SubvolumeListCommand {
  struct Sorting {
    let keys: [SubvolumeSelection.Order]
  }

  /// Flags that have a letter alone.
  private static let flags: Set<Character> = [
    "o", "a", "p", "c", "g", "u", "q", "R", "t", "s", "r", "d",
  ]

  /// Lets `-tG+1` be `-t -G+1`, and `--sort=` an option with an empty value: the parser knows neither.
  static func expanded(_ arguments: [String]) -> [String] {
    guard arguments.starts(with: ["subvolume", "list"]) else { return arguments }
    return arguments.flatMap { argument -> [String] in
      if argument == "--sort=" { return ["--sort", ""] }
      guard argument.first == "-",
        let option = argument.firstIndex(where: { $0 == "G" || $0 == "C" })
      else { return [argument] }
      let letters = argument[..<option].dropFirst()
      guard !letters.isEmpty, letters.allSatisfy(flags.contains) else { return [argument] }
      return ["-\(letters)", "-\(argument[option...])"]
    }
  }

  @Sendable private static func bound(_ text: String) throws -> SubvolumeSelection.Bound {
    guard let bound = SubvolumeSelection.Bound(text) else {
      throw ValidationError("it takes N, +N or -N")
    }
    return bound
  }

  @Sendable private static func sorting(_ text: String) throws -> Sorting {
    guard !text.isEmpty else {
      throw ValidationError("there is nothing to sort by; take gen, ogen, rootid or path")
    }
    return Sorting(
      keys: try text.split(separator: ",").map { word in
        guard let order = SubvolumeSelection.Order(word) else {
          throw ValidationError(
            "'\(word)' is nothing to sort by; take gen, ogen, rootid or path, with + or - before it"
          )
        }
        return order
      })
  }
}

import ArgumentParser
import FSCore

struct SubvolumeShowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show",
    abstract: "Show what is known of a subvolume.",
    discussion: """
      As 'btrfs subvolume show' prints it: of the subvolume at PATH, or with -r or -u of another one in \
      the same mount. Of an image that is not mounted: of its top level, or of the one that is named. \
      Quotas, which fsmount does not keep, are left out.

      What is damaged in an image is told on standard error. The exit status is 1 when something of this \
      subvolume is.
      """)

  @Option(
    name: [.customShort("r"), .customLong("rootid")],
    help: ArgumentHelp("The number of the subvolume.", valueName: "id"))
  var id: UInt64?

  @Option(
    name: [.customShort("u"), .customLong("uuid")],
    help: ArgumentHelp(
      "The UUID of the subvolume, as in 66079fc0-28ce-8646-b7ca-ac35243d7575.", valueName: "uuid"))
  var uuid: UUIDArgument?

  @Flag(
    help: "Print JSON; Documentation/control-channel.md describes the keys, under subvolume_show.")
  var json = false

  @Argument(help: ArgumentHelp("The subvolume, or the image.", valueName: "path-or-image"))
  var path: String

  func validate() throws {
    if id != nil, uuid != nil {
      throw ValidationError("-r and -u name a subvolume each; give one of them")
    }
  }

  func run() throws {
    let source = SubvolumeSource(path)
    let answer = try source.list()
    source.tellProblems(answer)
    guard let report = try chosen(among: answer) else {
      let wanted = uuid.map { "with UUID \($0.value)" } ?? "\(id ?? answer.asked ?? 0)"
      throw CommandFailure(
        "\(path): there is no subvolume \(wanted); 'fsmount subvolume list -u \(path)' tells which "
          + "there are")
    }
    let snapshots = report.snapshots(among: answer.subvolumes)
    if json {
      print(
        ControlJSON.text(
          SubvolumeShowCall.Answer(
            subvolume: report, isRoot: true, snapshots: snapshots.map(\.path))))
    } else {
      StandardOutput.write(SubvolumeText.lines(report, snapshots: snapshots))
    }
    // Damage of other subvolumes is no reason to fail.
    if !answer.isWhole(report.id) { throw ExitCode(1) }
  }

  private func chosen(
    among answer: SubvolumeListCall.Answer
  ) throws -> SubvolumeReport? {
    if let uuid {
      let text = "\(uuid.value)"
      return answer.subvolumes.first { $0.uuid == text }
    }
    guard id != nil || answer.isRoot == true else { throw SubvolumePath.notASubvolume(path) }
    let wanted = id ?? answer.asked
    return answer.subvolumes.first { $0.id == wanted }
  }
}

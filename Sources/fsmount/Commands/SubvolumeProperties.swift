import ArgumentParser
import FSCore

struct SubvolumeGetDefault: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "get-default",
    abstract: "Tell which subvolume is mounted when none is named.",
    discussion: """
      What is damaged in an image is told on standard error. The exit status is 1 when something of this \
      subvolume is, and 32 when it is not known which one it is.
      """)

  @Flag(help: "Print JSON: all that is known of it, as list does.")
  var json = false

  @Argument(
    help: ArgumentHelp("A directory in the mount, or the image.", valueName: "path-or-image"))
  var path: String

  func run() throws {
    let source = SubvolumeSource(path)
    let answer = try source.list()
    if let problem = answer.defaultProblem { throw CommandFailure("\(path): \(problem)") }
    source.tellProblems(answer)
    let id = answer.defaultSubvolume
    guard let report = answer.subvolumes.first(where: { $0.id == id }) else {
      let what = answer.damaged?.contains(id) == true ? "is damaged" : "is not there"
      throw CommandFailure(
        "\(path): the default subvolume is \(id), which \(what); set another one, with "
          + "'fsmount subvolume set-default'")
    }
    if json {
      print(ControlJSON.text(report))
    } else if report.isTopLevel {
      print("ID \(id) (FS_TREE)")
    } else {
      let table = SubvolumeTable(columns: [.id, .generation, .topLevel, .path])
      let entry = SubvolumeTable.Entry(report: report, path: SubvolumeText.path(report))
      StandardOutput.write([table.line(entry)])
    }
    if !answer.isWhole(id) { throw ExitCode(1) }
  }
}

struct SubvolumeSetDefault: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "set-default",
    abstract: "Name the subvolume that is mounted when none is named.",
    discussion: """
      'set-default SUBVOLUME', or 'set-default ID PATH' with any path in the mount. ID 5 is the top \
      level, with which every file system begins.
      """)

  @Argument(help: ArgumentHelp("The subvolume, or its number.", valueName: "subvolume"))
  var subvolume: String

  @Argument(help: ArgumentHelp("With a number: any path in the mount.", valueName: "path"))
  var path: String?

  func run() throws {
    guard let path else {
      if UInt64(subvolume) != nil, SubvolumePath.status(subvolume) == nil {
        throw CommandFailure(
          "'\(subvolume)' is a number: name any path in the mount after the number: "
            + "set-default \(subvolume) PATH", status: .usage)
      }
      _ = try SubvolumePath.subvolume(subvolume)
      _ = try ControlChannel(subvolume).ask(SubvolumeSetDefaultCall())
      return
    }
    guard let id = UInt64(subvolume) else {
      throw CommandFailure(
        "'\(subvolume)' is not the number of a subvolume; 'fsmount subvolume list \(path)' tells them",
        status: .usage)
    }
    _ = try ControlChannel(path).ask(SubvolumeSetDefaultCall(id: id))
  }
}

struct SubvolumeSetReadOnly: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "set-ro",
    abstract: "Make a subvolume read-only.",
    discussion: "What was written before is in it and durable when the command ends.")

  @Argument(help: ArgumentHelp("The subvolume.", valueName: "path"))
  var path: String

  func run() throws {
    _ = try SubvolumePath.subvolume(path)
    try SubvolumePath.requireOwnerOrWritable(path)
    try SubvolumePath.flushMappedFiles(path)
    _ = try ControlChannel(path).ask(SubvolumeSetReadOnlyCall(readOnly: true))
  }
}

struct SubvolumeSetWritable: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "set-rw", abstract: "Make a read-only subvolume writable.")

  @Flag(name: .shortAndLong, help: "A received one, too: it is no longer known as received.")
  var force = false

  @Argument(help: ArgumentHelp("The subvolume.", valueName: "path"))
  var path: String

  func run() throws {
    _ = try SubvolumePath.subvolume(path)
    try SubvolumePath.requireOwnerOrWritable(path)
    _ = try ControlChannel(path).ask(SubvolumeSetReadOnlyCall(readOnly: false, force: force))
  }
}

import ArgumentParser
import CFuse
import FSCore
import Glibc

struct SubvolumeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "subvolume",
    abstract: "Make, delete, list and change subvolumes and snapshots of a mount.",
    discussion: """
      The words are those of 'btrfs subvolume'. The user who mounted the image may do this, and root. \
      'list' and 'show' also look at an image that is not mounted.
      """,
    subcommands: [
      SubvolumeCreate.self, SubvolumeDelete.self, SubvolumeSnapshot.self, SubvolumeListCommand.self,
      SubvolumeShowCommand.self, SubvolumeGetDefault.self, SubvolumeSetDefault.self,
      SubvolumeSetReadOnly.self, SubvolumeSetWritable.self,
    ])
}

/// A path that something stands at, or is to be made at: the directory, and the name in it.
struct PlaceInMount {
  let directory: String
  let name: String

  init(_ path: String) throws(CommandFailure) {
    var rest = Substring(path)
    while rest.count > 1, rest.last == "/" { rest = rest.dropLast() }
    let slash = rest.lastIndex(of: "/")
    name = String(slash.map { rest[rest.index(after: $0)...] } ?? rest)
    guard !name.isEmpty, name != ".", name != ".." else {
      throw CommandFailure("'\(path)' does not end with a name", status: .usage)
    }
    let above = slash.map { String(rest[..<$0]) }
    directory = above.map { $0.isEmpty ? "/" : $0 } ?? "."
  }

  var path: String { directory == "/" ? "/\(name)" : "\(directory)/\(name)" }
}

/// What commands about subvolumes ask of paths.
enum SubvolumePath {
  static func status(_ path: String) -> stat? {
    var status = stat()
    return stat(path, &status) == 0 ? status : nil
  }

  static func isDirectory(_ path: String) -> Bool {
    status(path).map { $0.st_mode & S_IFMT == S_IFDIR } ?? false
  }

  /// The subvolume whose root directory this is, by what its mount says.
  static func subvolume(_ path: String) throws(CommandFailure) -> SubvolumeReport {
    let answer = try ControlChannel(path).ask(SubvolumeShowCall())
    guard answer.isRoot else { throw CommandFailure("\(path) is not a subvolume") }
    return answer.subvolume
  }

  /// Waits, a second at most, until the kernel knows that a name is new, or gone: the mount tells it
  /// only after the answer.
  static func waitUntilKernelSees(_ path: String, isThere: Bool) {
    for _ in 0..<1000 where (status(path) != nil) != isThere { usleep(1000) }
  }

  /// Has the kernel send what it has of mapped files.
  static func flushMappedFiles(_ path: String) throws(CommandFailure) {
    let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw CommandFailure("\(path): \(String(cString: strerror(errno)))")
    }
    defer { close(descriptor) }
    guard cfuse_syncfs(descriptor) == 0 else {
      throw CommandFailure(
        "\(path): not everything could be written: \(String(cString: strerror(errno)))")
    }
  }
}

struct SubvolumeCreate: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create", abstract: "Make an empty subvolume.")

  @Argument(help: ArgumentHelp("Where it is to stand.", valueName: "path"))
  var paths: [String]

  func run() throws {
    // It can only be read by setting another.
    let mask = umask(0o022)
    umask(mask)
    for path in paths {
      let place = try PlaceInMount(path)
      guard SubvolumePath.status(place.path) == nil else {
        throw CommandFailure("target path already exists: \(path)")
      }
      _ = try ControlChannel(place.directory).ask(
        SubvolumeCreateCall(name: place.name, umask: mask))
      SubvolumePath.waitUntilKernelSees(place.path, isThere: true)
      print("Create subvolume '\(place.directory)/\(place.name)'")
    }
  }
}

struct SubvolumeSnapshot: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "snapshot",
    abstract: "Make a snapshot of a subvolume.",
    discussion: """
      It has what was written before the command began, and is durable when the command ends. Where DEST \
      is a directory, the snapshot gets the subvolume's name in it. Subvolumes that stand in SOURCE are \
      empty directories in the snapshot.
      """)

  @Flag(name: [.customShort("r")], help: "Make it read-only.")
  var isReadOnly = false

  @Argument(help: ArgumentHelp("The subvolume.", valueName: "source"))
  var source: String

  @Argument(help: ArgumentHelp("Where the snapshot is to stand.", valueName: "dest"))
  var destination: String

  func run() throws {
    let subvolume = try SubvolumePath.subvolume(source)
    var place: PlaceInMount
    if SubvolumePath.isDirectory(destination) {
      let name = try PlaceInMount(source).name
      place = try PlaceInMount("\(destination)/\(name)")
    } else {
      place = try PlaceInMount(destination)
    }
    guard SubvolumePath.status(place.path) == nil else {
      throw CommandFailure("target path already exists: \(place.path)")
    }
    guard let from = SubvolumePath.status(source), let to = SubvolumePath.status(place.directory)
    else { throw CommandFailure("\(place.directory): \(String(cString: strerror(errno)))") }
    guard from.st_dev == to.st_dev else {
      throw CommandFailure(
        "cannot snapshot '\(source)': \(place.directory) is not in the same mount")
    }
    try SubvolumePath.flushMappedFiles(source)
    _ = try ControlChannel(place.directory).ask(
      SubvolumeSnapshotCall(source: subvolume.id, name: place.name, readOnly: isReadOnly))
    SubvolumePath.waitUntilKernelSees(place.path, isThere: true)
    let kind = isReadOnly ? "readonly snapshot" : "snapshot"
    print("Create a \(kind) of '\(source)' in '\(place.directory)/\(place.name)'")
  }
}

struct SubvolumeDelete: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "delete",
    abstract: "Delete subvolumes and snapshots, with all that is in them.",
    discussion: """
      The command returns at once. The space comes back in the background; what is left of that when the \
      mount ends is done by the next, Linux's too. A subvolume in which others stand is not deleted, nor \
      the default subvolume.
      """)

  @Flag(
    name: [.customShort("c"), .customLong("commit-after")],
    help: "Return when all of it is durable.")
  var commits = false

  @Argument(help: ArgumentHelp("The subvolume.", valueName: "path"))
  var paths: [String]

  func run() throws {
    for path in paths {
      let place = try PlaceInMount(path)
      let subvolume = try SubvolumePath.subvolume(path)
      guard subvolume.parent != nil else {
        throw CommandFailure("\(path): the top level is not deleted")
      }
      let channel = try ControlChannel(place.directory)
      _ = try channel.ask(SubvolumeDeleteCall(name: place.name))
      SubvolumePath.waitUntilKernelSees(place.path, isThere: false)
      print("Delete subvolume (\(commits ? "commit" : "no-commit")): '\(place.path)'")
      if commits { try commit(place.directory) }
    }
  }

  private func commit(_ path: String) throws {
    let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    defer { close(descriptor) }
    guard ioctl(descriptor, ControlCommand.synchronize) == 0 else {
      throw CommandFailure("\(path): \(String(cString: strerror(errno)))")
    }
  }
}

struct SubvolumeGetDefault: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "get-default",
    abstract: "Tell which subvolume is mounted when none is named.")

  @Argument(
    help: ArgumentHelp("A directory in the mount, or the image.", valueName: "path-or-image"))
  var path: String

  func run() throws {
    let answer = try SubvolumeSource(path).list()
    let id = answer.defaultSubvolume
    guard let report = answer.subvolumes.first(where: { $0.id == id }), report.parent != nil
    else { return print("ID \(id) (FS_TREE)") }
    print(SubvolumeText.line(report, SubvolumeText.Columns()))
  }
}

struct SubvolumeSetDefault: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "set-default",
    abstract: "Name the subvolume that is mounted when none is named.",
    discussion: "'set-default SUBVOLUME', or 'set-default ID PATH' with any path in the mount.")

  @Argument(help: ArgumentHelp("The subvolume, or its number.", valueName: "subvolume"))
  var subvolume: String

  @Argument(help: ArgumentHelp("With a number: any path in the mount.", valueName: "path"))
  var path: String?

  func run() throws {
    guard let path else {
      _ = try ControlChannel(subvolume).ask(SubvolumeSetDefaultCall())
      return
    }
    guard let id = UInt64(subvolume) else {
      throw CommandFailure("'\(subvolume)' is not the number of a subvolume", status: .usage)
    }
    _ = try ControlChannel(path).ask(SubvolumeSetDefaultCall(id: id))
  }
}

struct SubvolumeSetReadOnly: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "set-ro", abstract: "Make a subvolume read-only.")

  @Argument(help: ArgumentHelp("The subvolume.", valueName: "path"))
  var path: String

  func run() throws {
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
    _ = try ControlChannel(path).ask(SubvolumeSetReadOnlyCall(readOnly: false, force: force))
  }
}

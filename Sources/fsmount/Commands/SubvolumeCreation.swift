import ArgumentParser
import CFuse
import FSCore
import Glibc

struct SubvolumeCreate: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create",
    abstract: "Make empty subvolumes.",
    discussion: """
      They are made one after the other, up to the first that cannot be: those after it are not tried. The directory in which it stands has to \
      be there, unless -p makes it.
      """)

  @Flag(
    name: [.customShort("p"), .long], help: "Make the directories of the path that are missing.")
  var parents = false

  @Argument(help: ArgumentHelp("Where it is to stand.", valueName: "path"))
  var paths: [String]

  func run() throws {
    // It can only be read by setting another.
    let mask = umask(0o022)
    umask(mask)
    for path in paths {
      let place = try PlaceInMount(path)
      if parents { try makeDirectories(place.directory) }
      try place.requireFree()
      try place.requireWritableDirectory()
      _ = try ControlChannel(place.directory, about: path).ask(
        SubvolumeCreateCall(name: place.name, umask: mask))
      SubvolumePath.waitUntilKernelSees(place.path, isThere: true)
      print("Create subvolume '\(place.directory)/\(place.name)'")
    }
  }

  /// None is made where the subvolume could not be.
  private func makeDirectories(_ path: String) throws {
    var missing: [String] = []
    var there = path
    while SubvolumePath.linkStatus(there) == nil {
      guard errno == ENOENT else { throw CommandFailure.cannotOpen(there, errno) }
      missing.append(there)
      there = try PlaceInMount(there).directory
    }
    guard !missing.isEmpty else { return }
    _ = try ControlChannel(there).ask(FileIdentityCall())
    for directory in missing.reversed() where mkdir(directory, 0o777) != 0 {
      throw CommandFailure("\(directory): \(String(cString: strerror(errno)))")
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

  @Argument(
    help: ArgumentHelp(
      "Where the snapshot is to stand, in the same mount as its source.", valueName: "dest"))
  var destination: String

  func run() throws {
    let subvolume = try SubvolumePath.subvolume(source)
    let place: PlaceInMount
    if SubvolumePath.isDirectory(destination) {
      place = try PlaceInMount("\(destination)/\(try nameOfSource())")
    } else {
      place = try PlaceInMount(destination)
    }
    try place.requireFree()
    guard let from = SubvolumePath.status(source), let to = SubvolumePath.status(place.directory)
    else { throw CommandFailure.cannotOpen(place.directory, errno) }
    guard from.st_dev == to.st_dev else {
      throw CommandFailure(
        "cannot snapshot '\(source)': \(place.directory) is not in the same mount")
    }
    try place.requireWritableDirectory()
    try SubvolumePath.flushMappedFiles(source)
    _ = try ControlChannel(place.directory, about: place.path).ask(
      SubvolumeSnapshotCall(source: subvolume, name: place.name, readOnly: isReadOnly))
    SubvolumePath.waitUntilKernelSees(place.path, isThere: true)
    let kind = isReadOnly ? "readonly snapshot" : "snapshot"
    print("Create a \(kind) of '\(source)' in '\(place.directory)/\(place.name)'")
  }

  /// What the source is called, be it `.` or `..`.
  private func nameOfSource() throws(CommandFailure) -> String {
    guard let path = AbsolutePath.resolve(source) else {
      throw CommandFailure.cannotOpen(source, errno)
    }
    return try PlaceInMount(path).name
  }
}

import ArgumentParser
import CFuse
import FSCore
import Glibc

struct SubvolumeDelete: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "delete",
    abstract: "Delete subvolumes and snapshots, with all that is in them.",
    discussion: """
      'delete PATH...', or 'delete -i ID PATH' with any path in the mount. The command returns at once, \
      and a crash may bring the subvolume back unless -c or -C is given. The space comes back in the \
      background; what is left of that when the mount ends is done by the next, Linux's too. What is open \
      in it stays until it is closed.

      A subvolume in which others stand is not deleted, nor the default subvolume, nor the one that is \
      mounted by this mount. Where the mount checks permissions, the directory that it stands in has to be \
      writable; with -i that is not asked. Where several are given, those that can be deleted are, and the \
      exit status tells of the others.
      """)

  @Flag(
    name: [.customShort("c"), .customLong("commit-after")],
    help: "Return when the deletions are durable.")
  var commitsAfter = false

  @Flag(
    name: [.customShort("C"), .customLong("commit-each")],
    help: "Make the deletion of each durable before the next.")
  var commitsEach = false

  @Option(
    name: [.customShort("i"), .customLong("subvolid")],
    help: ArgumentHelp(
      "Delete the subvolume with this number, wherever it stands.", valueName: "id"))
  var id: UInt64?

  @Argument(help: ArgumentHelp("The subvolume; with -i any path in the mount.", valueName: "path"))
  var paths: [String]

  func validate() throws {
    if id != nil, paths.count > 1 {
      throw ValidationError("with -i there is one path alone, of anything in the mount")
    }
  }

  func run() throws {
    if let id { return try delete(id, in: paths[0]) }
    // A directory of each mount in which something was deleted that is not durable yet.
    var pending: [dev_t: String] = [:]
    var failures = 0
    func attempt(_ body: () throws(CommandFailure) -> Void) {
      do throws(CommandFailure) {
        try body()
      } catch {
        StandardError.write("fsmount: \(error)")
        failures += 1
      }
    }
    for path in paths {
      attempt { () throws(CommandFailure) in
        let directory = try delete(path, commits: commitsEach || commitsAfter)
        if commitsEach {
          try commit(directory)
        } else if commitsAfter, let status = SubvolumePath.status(directory) {
          pending[status.st_dev] = directory
        }
      }
    }
    for directory in pending.values.sorted() {
      attempt { () throws(CommandFailure) in try commit(directory) }
    }
    if failures > 0 { throw ExitCode(CommandFailure.Status.failed.rawValue) }
  }

  /// Returns the directory in which it stood.
  private func delete(_ path: String, commits: Bool) throws(CommandFailure) -> String {
    let id = try SubvolumePath.subvolume(path)
    // A symbolic link is followed, and `.` has a name.
    guard let resolved = AbsolutePath.resolve(path) else {
      throw CommandFailure.cannotOpen(path, errno)
    }
    try requireNothingMounted(path, resolved)
    guard id != TreeID.topLevel.rawValue else {
      throw CommandFailure("\(path): the top level is not deleted")
    }
    let place = try PlaceInMount(resolved)
    try place.requireWritableDirectory()
    do throws(CommandFailure) {
      _ = try ControlChannel(place.directory, about: path).ask(
        SubvolumeDeleteCall(name: place.name))
    } catch {
      throw explained(error, id, path)
    }
    SubvolumePath.waitUntilKernelSees(place.path, isThere: false)
    print("Delete subvolume (\(commits ? "commit" : "no-commit")): '\(place.path)'")
    return place.directory
  }

  /// The kernel would take away what is mounted in it, and nothing in the mount knows of that.
  private func requireNothingMounted(
    _ path: String, _ resolved: String
  ) throws(CommandFailure) {
    for entry in MountTable.entries() {
      if entry.mountPoint == resolved {
        throw CommandFailure(
          entry.isOurs
            ? "\(path) is the root of a mount, and a subvolume is not deleted while it is mounted; "
              + "the top level never is"
            : "\(path) has something mounted on it: unmount that first")
      }
      if entry.mountPoint.hasPrefix(resolved + "/") {
        throw CommandFailure(
          "\(path) has something mounted in it, on \(entry.mountPoint): unmount that first")
      }
    }
  }

  /// The failure, with what can be done about it.
  private func explained(
    _ failure: CommandFailure, _ id: UInt64, _ path: String
  ) -> CommandFailure {
    guard failure.code == "ENOTEMPTY",
      let all = try? ControlChannel(path).ask(SubvolumeListCall()).subvolumes
    else { return failure }
    return Self.notEmpty(path, id, among: all)
  }

  private static func notEmpty(
    _ what: String, _ id: UInt64, among all: [SubvolumeReport]
  ) -> CommandFailure {
    let children = all.filter { $0.parent == id }
    let names = children.prefix(3).map { "'\($0.path)'" }.joined(separator: ", ")
    let more = children.count > 3 ? " and \(children.count - 3) more" : ""
    return CommandFailure(
      "\(what) is not empty: other subvolumes stand in it (\(names)\(more)); delete these first",
      code: "ENOTEMPTY")
  }

  // By number.

  private func delete(_ id: UInt64, in path: String) throws {
    let answer = try ControlChannel(path).ask(SubvolumeListCall())
    guard id != TreeID.topLevel.rawValue else {
      throw CommandFailure("subvolume \(id) is the top level, which is not deleted")
    }
    guard let report = answer.subvolumes.first(where: { $0.id == id }) else {
      throw CommandFailure(
        "\(path): there is no subvolume \(id); 'fsmount subvolume list \(path)' tells which there are"
      )
    }
    guard answer.defaultSubvolume != id else {
      throw CommandFailure(
        "subvolume \(id) is the default subvolume: set another one first, with "
          + "'fsmount subvolume set-default'")
    }
    if let place = try directory(of: report, in: path, among: answer.subvolumes) {
      try requireNothingMounted("subvolume \(id)", place)
    }
    let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    guard descriptor >= 0 else { throw CommandFailure.cannotOpen(path, errno) }
    defer { close(descriptor) }
    var arguments = [UInt8](repeating: 0, count: BtrfsIoctl.argumentsSize)
    let status = arguments.withUnsafeMutableBytes {
      $0.storeBytes(of: BtrfsIoctl.byNumber, toByteOffset: 16, as: UInt64.self)
      $0.storeBytes(of: id, toByteOffset: 56, as: UInt64.self)
      return ioctl(descriptor, BtrfsIoctl.subvolumeDestroy2, $0.baseAddress!)
    }
    guard status == 0 else {
      let code = errno
      switch code {
      case ENOTEMPTY: throw Self.notEmpty("subvolume \(id)", id, among: answer.subvolumes)
      case EBUSY: throw CommandFailure("subvolume \(id) is mounted, and so is not deleted")
      case EROFS: throw CommandFailure("\(path): the mount, or what it stands in, is read-only")
      default: throw CommandFailure("subvolume \(id): \(String(cString: strerror(code)))")
      }
    }
    let commits = commitsAfter || commitsEach
    print("Delete subvolume (\(commits ? "commit" : "no-commit")): '\(path)/\(report.path)'")
    if commits { try commit(path) }
  }

  /// Where a subvolume is seen in the mount that a path is in; nil where it is not.
  private func directory(
    of report: SubvolumeReport, in path: String, among all: [SubvolumeReport]
  ) throws(CommandFailure) -> String? {
    guard let resolved = AbsolutePath.resolve(path) else { return nil }
    let mounts = MountTable.entries().filter {
      $0.isOurs && (resolved == $0.mountPoint || resolved.hasPrefix($0.mountPoint + "/"))
    }
    guard let mountPoint = mounts.map(\.mountPoint).max(by: { $0.utf8.count < $1.utf8.count })
    else { return nil }
    let root = try ControlChannel(mountPoint).ask(FileIdentityCall()).subvolume
    guard let above = all.first(where: { $0.id == root })?.path else { return nil }
    // Such a name cannot be compared with those of mount points.
    if report.path.contains("\u{FFFD}"),
      let inside = MountTable.entries().first(where: { $0.mountPoint.hasPrefix(mountPoint + "/") })
    {
      throw CommandFailure(
        "\(report.path) is not UTF-8, so it cannot be told whether \(inside.mountPoint), where "
          + "something is mounted, is in it: unmount that first")
    }
    if above.isEmpty { return "\(mountPoint)/\(report.path)" }
    guard report.path.hasPrefix(above + "/") else { return nil }
    return "\(mountPoint)\(report.path.dropFirst(above.count))"
  }

  private func commit(_ path: String) throws(CommandFailure) {
    let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    guard descriptor >= 0 else { throw CommandFailure.cannotOpen(path, errno) }
    defer { close(descriptor) }
    guard ioctl(descriptor, ControlCommand.synchronize) == 0 else {
      throw CommandFailure(
        "\(path): the deletion is not durable: \(String(cString: strerror(errno)))")
    }
  }
}

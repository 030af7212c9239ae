import CFuse
import FSCore
import Glibc

/// A path that something stands at, or is to be made at: the directory, and the name in it.
struct PlaceInMount {
  let directory: String
  let name: String

  init(_ path: String) throws(CommandFailure) {
    guard !path.isEmpty else { throw CommandFailure("the path is empty", status: .usage) }
    var rest = Substring(path)
    while rest.utf8.count > 1, rest.hasSuffix("/") { rest = rest.dropLast() }
    let slash = rest.lastIndex(of: "/")
    name = String(slash.map { rest[rest.index(after: $0)...] } ?? rest)
    guard !name.isEmpty, name != ".", name != ".." else {
      throw CommandFailure(
        "'\(path)' does not end with a name, as DIRECTORY/NAME does", status: .usage)
    }
    let length = name.utf8.count
    guard length <= Format.maximumNameLength else {
      throw CommandFailure(
        "'\(name.prefix(20))…': the name has \(length) bytes; \(Format.maximumNameLength) are the "
          + "most that a name can have", status: .usage)
    }
    guard let slash else {
      directory = "."
      return
    }
    var above = rest[..<slash]
    while above.hasSuffix("/") { above = above.dropLast() }
    directory = above.isEmpty ? "/" : String(above)
  }

  var path: String { directory == "/" ? "/\(name)" : "\(directory)/\(name)" }

  /// Throws unless the name is free, and the directory is there.
  func requireFree() throws(CommandFailure) {
    guard SubvolumePath.linkStatus(path) == nil else {
      throw CommandFailure("target path already exists: \(path)")
    }
    guard let status = SubvolumePath.status(directory) else {
      guard errno == ENOENT else { throw CommandFailure.cannotOpen(directory, errno) }
      throw CommandFailure(
        "\(directory): \(String(cString: strerror(ENOENT))); make the directory first")
    }
    guard status.st_mode & S_IFMT == S_IFDIR else {
      if CommandFailure.isImage(directory) { throw CommandFailure.notInMount(directory) }
      throw CommandFailure("\(directory) is not a directory, so '\(name)' cannot be made in it")
    }
  }

  /// Throws unless permissions let this user make names in the directory, and take them away. The mount
  /// does not ask: the user who mounted may do everything in it.
  func requireWritableDirectory() throws(CommandFailure) {
    try SubvolumePath.requireWritable(directory)
  }
}

/// What commands about subvolumes ask of paths.
enum SubvolumePath {
  static func status(_ path: String) -> stat? {
    var status = stat()
    return stat(path, &status) == 0 ? status : nil
  }

  /// Of a symbolic link itself.
  static func linkStatus(_ path: String) -> stat? {
    var status = stat()
    return lstat(path, &status) == 0 ? status : nil
  }

  static func isDirectory(_ path: String) -> Bool {
    status(path).map { $0.st_mode & S_IFMT == S_IFDIR } ?? false
  }

  /// Throws when permissions keep this user from changing names in a directory. Where the mount was not
  /// made with default_permissions there are none. All else that is in the way, the mount tells.
  static func requireWritable(_ path: String) throws(CommandFailure) {
    guard faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) != 0, errno == EACCES else { return }
    throw CommandFailure.cannotOpen(path, EACCES)
  }

  /// As `requireWritable`, but the owner may do it in any case.
  static func requireOwnerOrWritable(_ path: String) throws(CommandFailure) {
    if let status = Self.status(path), status.st_uid == geteuid() { return }
    try requireWritable(path)
  }

  /// The number of the subvolume whose root directory this is.
  static func subvolume(_ path: String) throws(CommandFailure) -> UInt64 {
    let identity = try ControlChannel(path).ask(FileIdentityCall())
    guard identity.inode == ObjectID.firstFree.rawValue else { throw notASubvolume(path) }
    return identity.subvolume
  }

  static func notASubvolume(_ path: String) -> CommandFailure {
    let kind = isDirectory(path) ? "a plain directory" : "a file"
    return CommandFailure(
      "\(path) is not a subvolume, but \(kind) in one; 'fsmount subvolume list' tells which there are"
    )
  }

  /// Waits, a second at most, until the kernel knows that a name is new, or gone: the mount tells it
  /// only after the answer.
  static func waitUntilKernelSees(_ path: String, isThere: Bool) {
    for _ in 0..<1000 where (status(path) != nil) != isThere { usleep(1000) }
  }

  /// Has the kernel send what it has of mapped files.
  static func flushMappedFiles(_ path: String) throws(CommandFailure) {
    let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    guard descriptor >= 0 else { throw CommandFailure.cannotOpen(path, errno) }
    defer { close(descriptor) }
    guard cfuse_syncfs(descriptor) == 0 else {
      throw CommandFailure(
        "\(path): not everything could be written: \(String(cString: strerror(errno)))")
    }
  }
}

import Glibc

/// Why a command did not do what it was asked to: one line for people, and an exit status.
struct CommandFailure: Error, CustomStringConvertible {
  /// The statuses of mount(8).
  enum Status: Int32 {
    case usage = 1
    case system = 2
    case failed = 32
  }

  let description: String
  let status: Status
  /// The name of the errno, where a mount has refused.
  let code: String?

  init(_ description: String, status: Status = .failed, code: String? = nil) {
    self.description = description
    self.status = status
    self.code = code
  }

  /// For what was opened as a place in a mount, and is none.
  static func notInMount(_ path: String) -> CommandFailure {
    if let mountPoint = MountTable.mountPoint(ofImage: path) {
      return CommandFailure(
        "\(path) is an image, not a place in a mount; it is mounted on \(mountPoint): name that")
    }
    return CommandFailure(
      "\(path) is not in a mount of fsmount; 'fsmount mount IMAGE DIRECTORY' mounts an image, and "
        + "'findmnt -t fuse.fsmount' lists what is mounted")
  }

  /// For what could not be opened, by errno.
  static func cannotOpen(_ path: String, _ code: Int32) -> CommandFailure {
    let hint =
      switch code {
      case ENOTCONN:
        "; the process that served this mount has died, and 'fsmount unmount' takes it away"
      case EROFS: "; the mount is read-only, or the subvolume that it stands in"
      case EACCES where isInClosedMount(path):
        "; a mount is for the user who made it, unless it was made with -o allow_other"
      default: ""
      }
    let name = path.isEmpty ? "the path is empty" : path
    return CommandFailure("\(name): \(String(cString: strerror(code)))\(hint)")
  }

  /// Whether a path is in a mount that this user may not enter.
  private static func isInClosedMount(_ path: String) -> Bool {
    guard let whole = AbsolutePath.resolveParent(path) ?? AbsolutePath.resolve(path) else {
      return false
    }
    return MountTable.entries().contains { entry in
      guard entry.isOurs, whole == entry.mountPoint || whole.hasPrefix(entry.mountPoint + "/")
      else { return false }
      var status = stat()
      return stat(entry.mountPoint, &status) != 0 && errno == EACCES
    }
  }
}

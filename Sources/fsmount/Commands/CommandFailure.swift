import CFuse
import FSCore
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
    if isImage(path) {
      return CommandFailure(
        "\(path) is an image that is not mounted; mount it first, with 'fsmount mount \(path) "
          + "DIRECTORY', and name a place in DIRECTORY")
    }
    if MountTable.entry(containing: path)?.type == "btrfs" {
      return CommandFailure(
        "\(path) is not in a mount of fsmount: Linux's own btrfs is mounted there, and 'btrfs', as in "
          + "'btrfs subvolume', serves that")
    }
    return CommandFailure(
      "\(path) is not in a mount of fsmount; 'fsmount mount IMAGE DIRECTORY' mounts an image, and "
        + "'findmnt -t fuse.fsmount' lists what is mounted")
  }

  /// Whether this is a file or block device with a btrfs file system, as far as a mark tells.
  static func isImage(_ path: String) -> Bool {
    var status = stat()
    guard stat(path, &status) == 0, [S_IFREG, S_IFBLK].contains(status.st_mode & S_IFMT) else {
      return false
    }
    let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var magic: UInt64 = 0
    let place = off_t(Format.superblockOffsets[0]) + off_t(Superblock.Offset.magic)
    return pread(descriptor, &magic, 8, place) == 8 && UInt64(littleEndian: magic) == Format.magic
  }

  /// For what could not be opened, by errno.
  static func cannotOpen(_ path: String, _ code: Int32) -> CommandFailure {
    let hint =
      switch code {
      case ENOTCONN:
        "; the process that served this mount has died, and 'fsmount unmount' takes it away"
      case EILSEQ: ": its whole path, symbolic links resolved, is not UTF-8"
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
    // Paths below the root of such a mount cannot be looked at.
    var above = Substring(path)
    var whole = AbsolutePath.resolveParent(path) ?? AbsolutePath.resolve(path)
    while whole == nil, let slash = above.lastIndex(of: "/"), slash > above.startIndex {
      above = above[..<slash]
      whole = AbsolutePath.resolveParent(String(above))
    }
    guard let whole else { return false }
    return MountTable.entries().contains { entry in
      guard entry.isOurs, whole == entry.mountPoint || whole.hasPrefix(entry.mountPoint + "/")
      else { return false }
      var status = stat()
      return stat(entry.mountPoint, &status) != 0 && errno == EACCES
    }
  }
}

import CFuse
import Glibc

/// A directory that something can be mounted on, and what can be known before it is tried.
enum MountPoint {
  /// The absolute path of `path`. Throws when nothing of ours can be mounted there.
  static func check(_ path: String) throws(CommandFailure) -> String {
    guard let resolved = AbsolutePath.resolve(path) else {
      let code = errno
      switch code {
      case ENOENT:
        throw CommandFailure("mount point \(path): there is no such directory; make it first")
      case ENOTCONN:
        throw CommandFailure(
          "mount point \(path): a mount whose program has ended is still there; "
            + "take it away with 'fsmount unmount \(path)'")
      default:
        throw CommandFailure("mount point \(path): \(String(cString: strerror(code)))")
      }
    }

    var status = stat()
    guard stat(resolved, &status) == 0 else {
      let code = errno
      let hint = code == ENOTCONN ? "; take the dead mount away with 'fsmount unmount \(path)'" : ""
      throw CommandFailure("mount point \(path): \(String(cString: strerror(code)))\(hint)")
    }
    guard status.st_mode & S_IFMT == S_IFDIR else {
      throw CommandFailure("mount point \(path) is not a directory")
    }
    if let entry = MountTable.entry(at: resolved), entry.type.hasPrefix("fuse") {
      throw CommandFailure(
        "mount point \(path) is busy: \(entry.source) is mounted there; "
          + "unmount it, or choose another directory")
    }
    // Else fusermount3 would say it.
    guard geteuid() == 0 || access(resolved, W_OK) == 0 else {
      throw CommandFailure(
        "mount point \(path): you may not write it; choose a directory of your own")
    }
    return resolved
  }

  /// Major number 10, minor 229, for ever.
  private static let fuseDevice: dev_t = 10 << 8 | 229

  /// Throws when FUSE cannot be used here at all.
  static func checkFuse() throws(CommandFailure) {
    guard access("/dev/fuse", F_OK) == 0 else {
      throw CommandFailure(
        "there is no /dev/fuse: load the kernel's module with 'modprobe fuse' "
          + "(in a container: start it with --device /dev/fuse)")
    }
    var status = stat()
    guard stat("/dev/fuse", &status) == 0, status.st_mode & S_IFMT == S_IFCHR,
      status.st_rdev == fuseDevice
    else {
      throw CommandFailure(
        "/dev/fuse is not the FUSE device: as root, make it with 'mknod /dev/fuse c 10 229'")
    }
    guard access("/dev/fuse", R_OK | W_OK) == 0 else {
      throw CommandFailure(
        "you may not open /dev/fuse: as root, 'chmod 666 /dev/fuse', or mount as root")
    }
    let program = Fusermount.path
    guard geteuid() == 0 || program != nil else {
      throw CommandFailure(
        "fusermount3 is not there, and only root can mount without it: install the package fuse3")
    }
  }
}

/// The program that mounts and unmounts for users other than root.
enum Fusermount {
  /// Looked for before anything is mounted: the search may lead into a mount.
  static let path: String? = {
    let search = getenv("PATH").map { String(cString: $0) } ?? ""
    return (search.split(separator: ":").map(String.init) + ["/usr/bin", "/bin"])
      .map { "\($0)/fusermount3" }
      .first { access($0, X_OK) == 0 }
  }()

  /// Takes a mount away; with `lazily`, though it is in use. Where it could not, errno says why, as
  /// near as it is known, and so does the program itself. EPERM: another user has mounted it.
  static func unmount(_ mount: MountTableEntry, lazily: Bool = false) -> Bool {
    if umount2(mount.mountPoint, lazily ? Int32(MNT_DETACH) : 0) == 0 { return true }
    guard errno == EPERM else { return false }
    // The program would refuse it, with a reason that is none.
    if let user = mount.user, user != getuid(), getuid() != 0 {
      errno = EPERM
      return false
    }
    guard unmountByProgram(mount.mountPoint, lazily ? "-uz" : "-u") else {
      errno = EBUSY
      return false
    }
    return true
  }

  static func unmountByProgram(_ path: String, _ options: String) -> Bool {
    guard let program = Self.path else { return false }
    return run(program, ["fusermount3", options, "--", path])
  }

  private static func run(_ program: String, _ arguments: [String]) -> Bool {
    var vector = arguments.map { strdup($0) } + [nil]
    defer { for argument in vector { free(argument) } }
    var child = pid_t()
    guard posix_spawn(&child, program, nil, nil, &vector, environ) == 0 else { return false }
    var status: Int32 = 0
    while waitpid(child, &status, 0) < 0 { if errno != EINTR { return false } }
    return status == 0
  }
}

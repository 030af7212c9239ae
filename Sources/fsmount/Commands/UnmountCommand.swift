import ArgumentParser
import CFuse
import Glibc

struct UnmountCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "unmount",
    abstract: "End a mount, and wait until its image holds everything.",
    discussion: """
      Plain umount returns earlier, while the mount's process may still be writing. The exit \
      status is 0 when everything is on disk and the process has ended.
      """,
    aliases: ["umount"])

  @Argument(help: "The directory it is mounted on, or the image.")
  var mountPoint: String

  func run() throws {
    let entry = try findMount()
    let directory = entry.mountPoint

    let watch = MountWatch(directory)
    if watch == nil, errno == ENOTCONN {
      if !Fusermount.unmount(entry, lazily: true), errno == EPERM {
        throw CommandFailure("\(directory) is still mounted: \(Self.notAllowed)")
      }
      throw CommandFailure(
        "the process that served \(directory) had died: the dead mount is taken away, and "
          + "\(entry.source) is as its last commit left it")
    }
    guard Fusermount.unmount(entry) else {
      let code = errno
      let reason =
        switch code {
        case EBUSY:
          "a program has a file open in it, or works in it (see 'fuser -vm \(directory)')"
        case EPERM: Self.notAllowed
        default: String(cString: strerror(code))
        }
      throw CommandFailure("\(directory) is still mounted: \(reason)")
    }
    guard let watch else {
      StandardError.write(
        "fsmount: \(directory) is unmounted, but its process could not be asked how it ended")
      return
    }
    if let failure = watch.waitForEnd() { throw CommandFailure(failure) }
  }

  private static let notAllowed = "only the user who mounted it, or root, may unmount it"

  private func findMount() throws(CommandFailure) -> MountTableEntry {
    // The first fails for a dead mount; the second does not look at the directory itself.
    let paths = [AbsolutePath.resolve(mountPoint), AbsolutePath.resolveParent(mountPoint)]
    let entries = MountTable.entries()
    for path in paths.compactMap({ $0 }) {
      if let entry = entries.last(where: { $0.mountPoint == path }) {
        guard entry.isOurs else {
          throw CommandFailure("\(path) is no mount of fsmount, but \(entry.type); use umount")
        }
        return entry
      }
      if let entry = entries.last(where: { $0.isOurs && $0.source == path }) { return entry }
    }
    throw CommandFailure("\(mountPoint) is neither a mount point nor a mounted image")
  }
}

/// The connection by which a mount's process tells how it ended.
struct MountWatch: ~Copyable {
  private let connection: Int32
  /// Becomes readable when the process has ended; -1 where the kernel has no such thing.
  private let process: Int32

  /// nil, with errno set, when the process cannot be asked.
  init?(_ directory: String) {
    guard let listener = AbstractSocket.listenAnywhere() else { return nil }
    defer { close(listener.descriptor) }

    let root = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard root >= 0 else { return nil }
    var request = [UInt8(listener.name.count)] + listener.name
    request += [UInt8](repeating: 0, count: ControlCommand.watchAddressSize - request.count)
    let result = request.withUnsafeMutableBytes {
      ioctl(root, ControlCommand.watchUnmount, $0.baseAddress!)
    }
    let code = errno
    close(root)
    errno = code
    guard result == 0 else { return nil }

    let connection = accept(listener.descriptor, nil, nil)
    guard connection >= 0 else { return nil }
    self.connection = connection
    process = cfuse_open_peer_process(connection)
  }

  deinit {
    close(connection)
    if process >= 0 { close(process) }
  }

  /// Waits until the process has ended; returns what went wrong.
  func waitForEnd() -> String? {
    var text: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = read(connection, &buffer, buffer.count)
      if count > 0 {
        text += buffer[..<count]
      } else if count == 0 || errno != EINTR {
        break
      }
    }
    if process >= 0 {
      var state = pollfd(fd: process, events: Int16(POLLIN), revents: 0)
      while poll(&state, 1, -1) < 0, errno == EINTR {}
    }

    switch text.first {
    case UInt8(ascii: "0"):
      return nil
    case .some:
      return String(decoding: text.dropFirst(), as: UTF8.self)
    case nil:
      return "the mount's process died before it had written everything"
    }
  }
}

import Glibc
import TestSupport

/// A file system that takes part in the comparison.
enum BenchPeer: String, CaseIterable {
  case fsmount
  case fuse2fs
  case ntfs3g = "ntfs-3g"
  case kernel = "kernel btrfs"

  /// Nil when it can take part, else why it cannot.
  var obstacle: String? {
    switch self {
    case .fsmount: FsmountProgram.path == nil ? "fsmount is not built" : nil
    case .fuse2fs: missing("fuse2fs", "mkfs.ext4")
    case .ntfs3g: missing("ntfs-3g", "mkfs.ntfs")
    case .kernel: isRoot ? missing("mkfs.btrfs") : "needs root"
    }
  }

  private func missing(_ commands: String...) -> String? {
    commands.first { Shell.find($0) == nil }.map { "\($0) is not installed" }
  }

  func format(_ image: String, size: String) throws {
    unlink(image)
    try Shell.run("truncate", "-s", size, image).orThrow()
    switch self {
    case .fsmount: try FsmountProgram.run("mkfs", "--force", image).orThrow()
    case .fuse2fs: try command("mkfs.ext4", "-q", "-F", image)
    case .ntfs3g: try command("mkfs.ntfs", "-q", "-Q", "-F", image)
    case .kernel: try command("mkfs.btrfs", "-q", "-f", "-R", "^free-space-tree", image)
    }
  }

  private func command(_ name: String, _ arguments: String...) throws {
    try Shell.run([Shell.find(name) ?? name] + arguments).orThrow()
  }

  func mount(_ image: String, at directory: String) throws -> any MountedImage {
    switch self {
    case .fsmount: try FsmountMount(image, at: directory, options: "noatime", lifetime: 3600)
    case .fuse2fs:
      try ForeignMount(
        [Shell.find("fuse2fs") ?? "fuse2fs", "-f", image, directory], image, directory)
    case .ntfs3g:
      try ForeignMount(
        [
          Shell.find("ntfs-3g") ?? "ntfs-3g", "-o", "no_detach,big_writes,noatime", image,
          directory,
        ], image, directory)
    case .kernel: try LoopMount(image, at: directory)
    }
  }
}

/// A mount by somebody else's FUSE server, kept in the foreground as a child.
final class ForeignMount: MountedImage {
  let image: String
  let directory: String
  private let server: RunningCommand
  private var isMounted = true

  init(_ arguments: [String], _ image: String, _ directory: String) throws {
    self.image = image
    self.directory = directory
    server = try RunningCommand(arguments)
    let deadline = monotonicSeconds() + 30
    while MountTableEntry.at(directory) == nil {
      guard server.poll() == nil, monotonicSeconds() < deadline else {
        isMounted = false
        throw TestFailure("\(server.command) does not mount: \(server.wait(timeout: 0).text)")
      }
      usleep(2_000)
    }
    var status = stat()
    try check("stat \(directory)") { stat(directory, &status) }
  }

  func sync() throws { try syncFileSystem(directory) }

  func unmount() throws {
    guard isMounted else { return }
    isMounted = false
    try Shell.run(isRoot ? ["umount", directory] : ["fusermount3", "-u", directory]).orThrow()
    // The server goes on writing after the mount has gone.
    _ = server.wait(timeout: 120)
  }

  deinit { try? unmount() }
}

import Glibc
import TestSupport

/// What a pass can measure.
protocol BenchSubject {
  func format(_ image: String, size: String) throws
  func mount(_ image: String, at directory: String) throws -> any MountedImage
}

/// One build of fsmount among several.
struct FsmountBuild: BenchSubject {
  let program: String

  /// By this checkout's program, so that all builds get the same image.
  func format(_ image: String, size: String) throws {
    try BenchPeer.fsmount.format(image, size: size)
  }

  func mount(_ image: String, at directory: String) throws -> any MountedImage {
    try FsmountMount(
      image, at: directory, options: "noatime", lifetime: 3600, program: program)
  }
}

/// A file system that takes part in the comparison.
enum BenchPeer: String, CaseIterable, BenchSubject {
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

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

/// A file system that takes part in the comparison, by the name that its column has.
enum BenchPeer: String, CaseIterable, BenchSubject {
  case fsmount
  /// As system mounts run: for all users, so that the kernel checks permissions.
  case fsmountForAll = "fsmount, allow_other"
  case fuse2fs
  case ntfs3g = "ntfs-3g"
  case kernel = "kernel btrfs"
  /// Answers the same requests as fsmount and does nothing else.
  case emptyServer = "empty server"

  static let ours: [BenchPeer] = [.fsmount, .fsmountForAll]
  static let foreign: [BenchPeer] = [.fuse2fs, .ntfs3g]

  /// What `--peers` calls it.
  var key: String {
    switch self {
    case .fsmountForAll: "allow_other"
    case .kernel: "kernel"
    case .emptyServer: "empty"
    default: rawValue
    }
  }

  /// Nil when it can take part, else why it cannot.
  var obstacle: String? {
    switch self {
    case .fsmount: FsmountProgram.path == nil ? "fsmount is not built" : nil
    case .fsmountForAll: Self.fsmount.obstacle ?? obstacleForAll
    case .fuse2fs: missing("fuse2fs", "mkfs.ext4")
    case .ntfs3g: missing("ntfs-3g", "mkfs.ntfs")
    case .kernel: isRoot ? missing("mkfs.btrfs") : "needs root"
    case .emptyServer: Programs.emptyServer == nil ? "emptyserver is not built" : nil
    }
  }

  private func missing(_ commands: String...) -> String? {
    commands.first { Shell.find($0) == nil }.map { "\($0) is not installed" }
  }

  private var obstacleForAll: String? {
    if isRoot { return nil }
    let lines = readText("/etc/fuse.conf").split(separator: "\n")
    return lines.contains { $0.hasPrefix("user_allow_other") }
      ? nil : "needs root, or user_allow_other in /etc/fuse.conf"
  }

  func format(_ image: String, size: String) throws {
    unlink(image)
    // The empty server has its own idea of how long its file is.
    if self == .emptyServer { return }
    try Shell.run("truncate", "-s", size, image).orThrow()
    switch self {
    case .fsmount, .fsmountForAll: try FsmountProgram.run("mkfs", "--force", image).orThrow()
    case .fuse2fs: try command("mkfs.ext4", "-q", "-F", image)
    case .ntfs3g: try command("mkfs.ntfs", "-q", "-Q", "-F", image)
    case .kernel: try command("mkfs.btrfs", "-q", "-f", "-R", "^free-space-tree", image)
    case .emptyServer: break
    }
  }

  private func command(_ name: String, _ arguments: String...) throws {
    try Shell.run([Shell.find(name) ?? name] + arguments).orThrow()
  }

  func mount(_ image: String, at directory: String) throws -> any MountedImage {
    try mount(image, at: directory, keepsModes: false)
  }

  /// - Parameter keepsModes: files have the modes that programs give them, where an option is needed for
  ///   that.
  func mount(
    _ image: String, at directory: String, keepsModes: Bool
  ) throws -> any MountedImage {
    switch self {
    case .fsmount: try FsmountMount(image, at: directory, options: "noatime", lifetime: 3600)
    case .fsmountForAll:
      try FsmountMount(image, at: directory, options: "noatime,allow_other", lifetime: 3600)
    case .fuse2fs:
      try ForeignMount(
        [Shell.find("fuse2fs") ?? "fuse2fs", "-f", image, directory], image, directory)
    case .ntfs3g:
      try ForeignMount(
        [
          Shell.find("ntfs-3g") ?? "ntfs-3g", "-o",
          "no_detach,big_writes,noatime" + (keepsModes ? ",permissions" : ""), image, directory,
        ], image, directory)
    case .kernel: try LoopMount(image, at: directory)
    case .emptyServer:
      try ForeignMount([Programs.emptyServer ?? "emptyserver", image, directory], image, directory)
    }
  }

  /// Those of `candidates` that `names` has, with commas between them, or all; and that can take part.
  /// Says of the others why they do not.
  static func present(_ names: String?, among candidates: [BenchPeer]) throws -> [BenchPeer] {
    var wanted = candidates
    if let names {
      wanted = try names.split(separator: ",").map { name in
        guard let peer = allCases.first(where: { $0.key == name || $0.rawValue == name }) else {
          let known = allCases.map(\.key).joined(separator: ", ")
          throw TestFailure("there is no peer '\(name)'; there are \(known)")
        }
        return peer
      }
    }
    return allCases.filter { peer in
      guard wanted.contains(peer) else { return false }
      guard let obstacle = peer.obstacle else { return true }
      standardError("\(peer.rawValue) does not take part: \(obstacle)")
      return false
    }
  }
}

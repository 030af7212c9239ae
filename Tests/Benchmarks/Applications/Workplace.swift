import Glibc
import TestSupport

/// A file system of one peer in which applications work, one after the other.
final class Workplace {
  let peer: BenchPeer
  let directory: String
  private let image: String
  private var mounted: any MountedImage

  init(_ peer: BenchPeer, in place: TemporaryDirectory, megabytes: Int) throws {
    self.peer = peer
    image = place.file("\(peer.key).img")
    directory = try place.directory("\(peer.key)")
    try peer.format(image, size: "\(megabytes)M")
    mounted = try peer.mount(image, at: directory, keepsModes: true)
  }

  /// fuse2fs takes the access list by which cp(1) gives a file its mode, and leaves the mode as it is.
  var keepsModes: Bool { peer != .fuse2fs }

  func path(_ name: String) -> String { "\(directory)/\(name)" }

  func has(_ name: String) -> Bool {
    var status = stat()
    return lstat(path(name), &status) == 0
  }

  /// Makes the mount anew, so that nothing of it is in the kernel's memory.
  func remount() throws {
    try mounted.unmount()
    mounted = try peer.mount(image, at: directory, keepsModes: true)
  }

  /// Returns when all is on the image: syncfs(2) for the kernel, and fsync(2) of the root for a server,
  /// which is not told of the former. Not every server knows the latter.
  func sync() throws {
    let root = try check("open \(directory)") { open(directory, O_RDONLY | O_DIRECTORY) }
    defer { close(root) }
    try check("syncfs \(directory)") { Linux.syncfs(root) }
    _ = fsync(root)
  }

  /// How long `body` takes, and until all that it changed is on the image.
  func secondsUntilDurable(_ body: () throws -> Void) throws -> Double {
    let start = monotonicSeconds()
    try body()
    try sync()
    return monotonicSeconds() - start
  }

  func seconds(_ body: () throws -> Void) rethrows -> Double {
    let start = monotonicSeconds()
    try body()
    return monotonicSeconds() - start
  }

  /// Unmounts. An image of ours must then be one that `btrfs check` has nothing to say against.
  func end() throws {
    try mounted.unmount()
    if BenchPeer.ours.contains(peer), Shell.find("btrfs") != nil {
      try ImageCheck.expectSound(image)
    }
    unlink(image)
    rmdir(directory)
  }

  deinit { try? mounted.unmount() }
}

extension Shell {
  /// Runs a program to its end, which must be a good one, and returns its output.
  @discardableResult
  static func output(
    _ arguments: [String], timeout: Double = 600, environment: [String: String] = [:]
  ) throws -> String {
    try run(arguments, timeout: timeout, environment: environment).orThrow().output
  }

  @discardableResult
  static func output(_ arguments: String...) throws -> String { try output(arguments) }
}

import Glibc

/// An image that is mounted, by the kernel or by fsmount.
package protocol MountedImage: AnyObject {
  var image: String { get }
  var directory: String { get }
  /// Returns when all that was done before is on the image.
  func sync() throws
  /// Returns when nothing uses the image any more. A second call does nothing.
  func unmount() throws
}

/// What mounts an image.
package enum MountKind: String, Sendable, CaseIterable {
  case fsmount
  case kernel

  /// Empty `options` mean the usual ones.
  package func mount(
    _ image: String, at directory: String, options: String = ""
  ) throws -> any MountedImage {
    switch self {
    case .fsmount: try FsmountMount(image, at: directory, options: options)
    case .kernel:
      try LoopMount(
        image, at: directory, options: options.isEmpty ? LoopMount.kernelOptions : options)
    }
  }
}

/// One line of `/proc/self/mountinfo`.
package struct MountTableEntry {
  package let deviceMinor: Int
  package let mountPoint: String
  package let options: String
  package let type: String
  package let source: String

  package static func all() -> [MountTableEntry] {
    readText("/proc/self/mountinfo").split(separator: "\n").compactMap { line in
      let fields = line.split(separator: " ").map(String.init)
      guard let dash = fields.firstIndex(of: "-"), fields.count > dash + 2 else { return nil }
      return MountTableEntry(
        deviceMinor: fields[2].split(separator: ":").last.flatMap { Int($0) } ?? -1,
        mountPoint: fields[4], options: fields[5], type: fields[dash + 1],
        source: fields[dash + 2])
    }
  }

  package static func at(_ directory: String) -> MountTableEntry? {
    all().last { $0.mountPoint == directory }
  }
}

/// Asks a file system of either kind to write everything: `syncfs` for the kernel's, and `fsync`
/// of the directory for a FUSE server, which is not told of the former.
package func syncFileSystem(_ directory: String) throws {
  let descriptor = try check("open \(directory)") { open(directory, O_RDONLY | O_DIRECTORY) }
  defer { close(descriptor) }
  try check("syncfs \(directory)") { Linux.syncfs(descriptor) }
  try check("fsync \(directory)") { fsync(descriptor) }
}

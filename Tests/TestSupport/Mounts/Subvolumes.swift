import Glibc

/// Makes the empty subvolumes `s0`, `s1` and so on in a directory of a kernel's mount, by the
/// ioctl, as a process for each would take much longer.
package func makeSubvolumes(_ count: Int, in directory: String) throws {
  // BTRFS_IOC_SUBVOL_CREATE
  try make(count, in: directory, request: 0x5000_940e, source: 0)
}

/// Makes the snapshots `s0`, `s1` and so on of a subvolume in the same way.
package func makeSnapshots(_ count: Int, of subvolume: String, in directory: String) throws {
  let source = try check("open \(subvolume)") { open(subvolume, O_RDONLY | O_DIRECTORY) }
  defer { close(source) }
  try make(count, in: directory, request: snapshotCreate, source: source)
}

/// Makes one snapshot, by the same ioctl.
package func makeSnapshot(_ name: String, of subvolume: String, in directory: String) throws {
  let source = try check("open \(subvolume)") { open(subvolume, O_RDONLY | O_DIRECTORY) }
  defer { close(source) }
  let descriptor = try check("open \(directory)") { open(directory, O_RDONLY | O_DIRECTORY) }
  defer { close(descriptor) }
  try make(name, in: descriptor, request: snapshotCreate, source: source)
}

/// Deletes a subvolume, by BTRFS_IOC_SNAP_DESTROY.
package func deleteSubvolume(_ name: String, in directory: String) throws {
  let descriptor = try check("open \(directory)") { open(directory, O_RDONLY | O_DIRECTORY) }
  defer { close(descriptor) }
  try make(name, in: descriptor, request: 0x5000_940f, source: 0)
}

/// BTRFS_IOC_SNAP_CREATE
private let snapshotCreate: UInt = 0x5000_9401

private func make(_ count: Int, in directory: String, request: UInt, source: Int32) throws {
  let descriptor = try check("open \(directory)") { open(directory, O_RDONLY | O_DIRECTORY) }
  defer { close(descriptor) }
  for number in 0..<count {
    try make("s\(number)", in: descriptor, request: request, source: source)
  }
}

/// Each request takes a struct btrfs_ioctl_vol_args: a descriptor and a name.
private func make(_ name: String, in directory: Int32, request: UInt, source: Int32) throws {
  var arguments = [UInt8](repeating: 0, count: 4096)
  let bytes = Array(name.utf8)
  arguments.replaceSubrange(8..<(8 + bytes.count), with: bytes)
  try check("create \(name)") {
    arguments.withUnsafeMutableBytes {
      $0.storeBytes(of: Int64(source), as: Int64.self)
      return Linux.ioctl(directory, request, $0.baseAddress!)
    }
  }
}

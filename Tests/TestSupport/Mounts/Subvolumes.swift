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
  // BTRFS_IOC_SNAP_CREATE
  try make(count, in: directory, request: 0x5000_9401, source: source)
}

/// Each request takes a struct btrfs_ioctl_vol_args: a descriptor and a name.
private func make(_ count: Int, in directory: String, request: UInt, source: Int32) throws {
  let descriptor = try check("open \(directory)") { open(directory, O_RDONLY | O_DIRECTORY) }
  defer { close(descriptor) }
  for number in 0..<count {
    var arguments = [UInt8](repeating: 0, count: 4096)
    let name = Array("s\(number)".utf8)
    arguments.replaceSubrange(8..<(8 + name.count), with: name)
    try check("create \(directory)/s\(number)") {
      arguments.withUnsafeMutableBytes {
        $0.storeBytes(of: Int64(source), as: Int64.self)
        return Linux.ioctl(descriptor, request, $0.baseAddress!)
      }
    }
  }
}

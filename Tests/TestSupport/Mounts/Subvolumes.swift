import Glibc

/// Makes the empty subvolumes `s0`, `s1` and so on in a directory of a kernel's mount, by the
/// ioctl, as a process for each would take much longer.
package func makeSubvolumes(_ count: Int, in directory: String) throws {
  // BTRFS_IOC_SUBVOL_CREATE, with a struct btrfs_ioctl_vol_args: a descriptor and a name.
  let request: UInt = 0x5000_940e
  let descriptor = try check("open \(directory)") { open(directory, O_RDONLY | O_DIRECTORY) }
  defer { close(descriptor) }
  for number in 0..<count {
    var arguments = [UInt8](repeating: 0, count: 4096)
    let name = Array("s\(number)".utf8)
    arguments.replaceSubrange(8..<(8 + name.count), with: name)
    try check("create a subvolume") {
      arguments.withUnsafeMutableBytes { Linux.ioctl(descriptor, request, $0.baseAddress!) }
    }
  }
}

import Glibc

/// How much the kernel reads ahead of what programs ask for.
enum ReadAhead {
  /// The kernel gives a FUSE mount 128 KiB of read-ahead, and takes no larger wish from the
  /// mount itself; root may set it here, once the mount serves requests. For others it stays as it
  /// is.
  static func set(_ bytes: Int, of mountPoint: String) {
    guard let device = MountTable.entry(at: mountPoint)?.device else { return }
    let file = open("/sys/class/bdi/\(device)/read_ahead_kb", O_WRONLY | O_CLOEXEC)
    guard file >= 0 else { return }
    defer { close(file) }
    let text = String(bytes >> 10)
    _ = text.withCString { write(file, $0, strlen($0)) }
  }
}

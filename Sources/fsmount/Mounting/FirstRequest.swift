import Glibc

/// What can be done only when a mount has begun to serve requests.
enum FirstRequest {
  /// Waits for the answer to a request; false when none came, because the session has ended.
  static func isAnswered(at mountPoint: String) -> Bool {
    var statistics = statvfs()
    if statvfs(mountPoint, &statistics) == 0 { return true }
    return ![ENOTCONN, ECONNABORTED, ECONNREFUSED].contains(errno)
  }

  /// The kernel gives a FUSE mount 128 KiB of read-ahead, and takes no larger wish from the
  /// mount itself; root may set it here. For others it stays as it is.
  static func setReadAhead(_ bytes: Int, of mountPoint: String) {
    guard let device = MountTable.entry(at: mountPoint)?.device else { return }
    let file = open("/sys/class/bdi/\(device)/read_ahead_kb", O_WRONLY | O_CLOEXEC)
    guard file >= 0 else { return }
    defer { close(file) }
    let text = String(bytes >> 10)
    _ = text.withCString { write(file, $0, strlen($0)) }
  }
}

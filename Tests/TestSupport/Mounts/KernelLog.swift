import Glibc

/// The kernel's messages from the moment this was made.
package final class KernelLog {
  private let descriptor: Int32
  private var lines: [Line] = []

  private struct Line {
    let priority: Int
    let text: String
  }

  /// Nil descriptor (no right to read the log) makes every answer empty.
  package init() {
    descriptor = open("/dev/kmsg", O_RDONLY | O_NONBLOCK)
    if descriptor >= 0 { lseek(descriptor, 0, SEEK_END) }
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  private func drain() {
    guard descriptor >= 0 else { return }
    var record = [UInt8](repeating: 0, count: 8192)
    while true {
      let count = read(descriptor, &record, record.count)
      if count < 0 {
        // Overwritten records are skipped by reading on.
        if errno == EPIPE || errno == EINTR { continue }
        return
      }
      let parts = String(decoding: record[..<count], as: UTF8.self)
        .split(separator: ";", maxSplits: 1)
      guard parts.count == 2 else { continue }
      let priority = parts[0].split(separator: ",").first.flatMap { Int($0) } ?? 6
      let text = parts[1].split(separator: "\n").first.map(String.init) ?? ""
      lines.append(Line(priority: priority & 7, text: text))
    }
  }

  /// What the kernel said against the file system on `device` (`loop3`), or about itself.
  package func complaints(device: String) -> [String] {
    drain()
    return lines.filter { line in
      if Self.alarms.contains(where: { line.text.contains($0) }) { return true }
      // Others may be at work on the same machine; their warnings are not ours.
      if line.text.contains("WARNING: CPU") { return line.text.contains(" PID: \(getpid()) ") }
      guard line.text.contains("BTRFS"),
        line.text.contains("(device \(device))") || line.text.contains("(device \(device) ")
      else { return false }
      if Self.harmless.contains(where: { line.text.contains($0) }) { return false }
      return line.priority <= 4 || Self.suspicious.contains { line.text.contains($0) }
    }.map(\.text)
  }

  /// Everything said about a device, to show beside a failure.
  package func all(device: String) -> [String] {
    drain()
    return lines.map(\.text).filter { $0.contains(device) }
  }

  private static let alarms = ["kernel BUG", "BUG:", "Oops"]
  /// The second is how it answers a request.
  private static let harmless = [
    "space cache v1 is being deprecated", "deleting default subvolume",
  ]
  private static let suspicious = [
    "rebuild", "free space cache", "wrong amount of free space", "corrupt", "clearing", "error",
    "mismatch", "forced readonly", "aborted",
  ]
}

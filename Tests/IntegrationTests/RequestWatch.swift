import Glibc
import TestSupport

/// Counts the requests that a mount answers.
///
/// 1. It asks through a directory that stays open, so that to ask costs an ioctl and no other request.
///    Ioctls are not counted.
/// 2. The kernel sends the end of an open file when it likes. So before and after what is counted it
///    waits until no more are open than the test has open, and its own directory.
/// 3. When the kernel forgets an inode is its own affair, and not counted.
final class RequestWatch {
  private let descriptor: Int32

  /// - Parameter root: the mounted directory.
  init(_ root: BytePath) throws {
    descriptor = try check("open \(root)") {
      root.withCPath { open($0, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
    }
  }

  deinit { close(descriptor) }

  /// The requests that `body` causes, by their names.
  ///
  /// - Parameter openFiles: how many files of the mount are open before and after.
  func requests(openFiles: Int = 0, of body: () throws -> Void) throws -> [String: Int] {
    let before = try settled(openFiles)
    try body()
    return try settled(openFiles).merging(before) { $0 - $1 }.filter { $0.value != 0 }
  }

  private func settled(_ openFiles: Int) throws -> [String: Int] {
    let deadline = monotonicSeconds() + 20
    while true {
      let counts = try self.counts()
      func count(_ name: String) -> Int { counts[name] ?? 0 }
      let files = count("open") + count("create") - count("release")
      let directories = count("opendir") - count("releasedir")
      if files == openFiles, directories == 1 { return counts }
      guard monotonicSeconds() < deadline else {
        throw TestFailure("\(files) files and \(directories) directories are still open")
      }
      usleep(500)
    }
  }

  /// Since the mount began.
  private func counts() throws -> [String: Int] {
    let answer = try ask(#"{"version":1,"command":"stats"}"#)
    let parts = answer.split(separator: #""requests":["#, maxSplits: 1)
    guard parts.count == 2 else { throw TestFailure("no requests in: \(answer)") }
    var counts: [String: Int] = [:]
    for entry in parts[1].prefix(while: { $0 != "]" }).split(separator: "}") {
      // {"count":1,"operation":"open"
      let number = entry.drop { !$0.isNumber }.prefix { $0.isNumber }
      let name = entry.split(separator: "\"").last.map(String.init) ?? ""
      counts[name] = Int(number)
    }
    counts["ioctl"] = nil
    counts["forget"] = nil
    return counts
  }

  /// The first part of the answer, in which the requests are: Documentation/control-channel.md.
  private func ask(_ text: String) throws -> String {
    let headerSize = 24
    var message = [UInt8](repeating: 0, count: 12 << 10)
    message[0] = UInt8(text.utf8.count)
    message.replaceSubrange(headerSize..<(headerSize + text.utf8.count), with: text.utf8)
    try check("ioctl") {
      message.withUnsafeMutableBytes { Linux.ioctl(descriptor, 0xf000_f502, $0.baseAddress!) }
    }
    let length = Int(message[0]) | Int(message[1]) << 8
    return String(decoding: message[headerSize...].prefix(length), as: UTF8.self)
  }
}

import Glibc

/// One line of /proc/self/mountinfo.
struct MountTableEntry: Equatable {
  let device: String
  let mountPoint: String
  let type: String
  let source: String
  /// The user that has mounted it, where it is a mount of FUSE.
  let user: uid_t?

  /// Whether fsmount serves it, as far as the table tells.
  var isOurs: Bool { type == "fuse.fsmount" || type == "fuse" }

  /// Parses "36 35 98:0 /root /point options … - type source options"; nil for any other line.
  init?(line: Substring) {
    let fields = line.split(separator: " ")
    guard fields.count >= 9, let dash = fields.firstIndex(of: "-"), dash >= 6,
      fields.count > dash + 2
    else { return nil }
    device = String(fields[2])
    mountPoint = Self.unescape(fields[4])
    type = Self.unescape(fields[dash + 1])
    source = Self.unescape(fields[dash + 2])
    let name = "user_id="
    let options = fields[(dash + 2)...].dropFirst().joined(separator: ",").split(separator: ",")
    user = options.first { $0.hasPrefix(name) }.flatMap { uid_t($0.dropFirst(name.count)) }
  }

  /// The table writes blanks and backslashes as `\` and three octal digits.
  private static func unescape(_ field: Substring) -> String {
    guard field.utf8.contains(UInt8(ascii: "\\")) else { return String(field) }
    var bytes: [UInt8] = []
    var rest = Array(field.utf8)[...]
    while let byte = rest.popFirst() {
      let digits = rest.prefix(3)
      let isEscape =
        byte == UInt8(ascii: "\\") && digits.count == 3
        && digits.allSatisfy { (0x30...0x37).contains($0) }
      if isEscape {
        bytes.append(digits.reduce(UInt8(0)) { $0 &* 8 &+ ($1 - 0x30) })
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

enum MountTable {
  /// All mounts that this process sees, the latest last.
  static func entries() -> [MountTableEntry] {
    let text = readAll("/proc/self/mountinfo")
    return text.split(separator: "\n").compactMap { MountTableEntry(line: $0) }
  }

  /// The mount whose root `path` shows: where several are stacked, the topmost.
  static func entry(at path: String) -> MountTableEntry? {
    entries().last { $0.mountPoint == path }
  }

  /// The mount that a path is in, as far as the table tells.
  static func entry(containing path: String) -> MountTableEntry? {
    guard let resolved = AbsolutePath.resolve(path) else { return nil }
    var found: MountTableEntry?
    for entry in entries() {
      let point = entry.mountPoint
      guard point == "/" || resolved == point || resolved.hasPrefix(point + "/") else { continue }
      // Of several on one directory the last one is seen.
      if found.map({ $0.mountPoint.utf8.count <= point.utf8.count }) ?? true { found = entry }
    }
    return found
  }

  /// Where fsmount has mounted an image; nil when it has not, as far as the table tells.
  static func mountPoint(ofImage path: String) -> String? {
    guard let resolved = AbsolutePath.resolve(path) else { return nil }
    return entries().last { $0.isOurs && $0.source == resolved }?.mountPoint
  }

  /// The file's content, read to its end; empty when there is no such file.
  static func readAll(_ path: String) -> String {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return "" }
    defer { close(descriptor) }

    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = read(descriptor, &piece, piece.count)
      if count > 0 {
        bytes += piece[..<count]
      } else if count == 0 || errno != EINTR {
        return String(decoding: bytes, as: UTF8.self)
      }
    }
  }
}

enum AbsolutePath {
  /// `path` without symbolic links, `.` and `..`; nil, with errno set, when it does not exist. So it is,
  /// with EILSEQ, when the whole path is not UTF-8: with other bytes in place of the wrong ones it
  /// would lead elsewhere.
  static func resolve(_ path: String) -> String? {
    guard let resolved = realpath(path, nil) else { return nil }
    defer { free(resolved) }
    guard let text = String(validatingCString: resolved) else {
      errno = EILSEQ
      return nil
    }
    return text
  }

  /// Like `resolve`, but the last component is not looked at: a mount point whose daemon has
  /// died cannot be.
  static func resolveParent(_ path: String) -> String? {
    var trimmed = Substring(path)
    while trimmed.count > 1, trimmed.hasSuffix("/") { trimmed = trimmed.dropLast() }
    let components = trimmed.split(separator: "/", omittingEmptySubsequences: true)
    guard let name = components.last, name != ".", name != ".." else { return resolve(path) }

    var parent = String(trimmed.dropLast(name.count))
    if parent.isEmpty { parent = "." }
    guard let directory = resolve(parent) else { return nil }
    return directory == "/" ? "/\(name)" : "\(directory)/\(name)"
  }
}

import Glibc

/// One object of a tree, as far as two file systems must agree on it.
package struct SnapshotEntry: Equatable, Sendable {
  package var path: BytePath
  package var mode: UInt32
  package var links: UInt64
  package var owner: UInt32
  package var group: UInt32
  package var size: Int
  package var device: UInt64
  /// Only a time that somebody set, see `ExplicitTime`.
  package var modified: timespec?
  /// Name hash and value hash, in the file system's order.
  package var attributes: [SnapshotAttribute]
  package var content: FileContent?
  /// Target of a symlink.
  package var target: [UInt8]?
  /// The first path in this walk of the same inode, when it has several names.
  package var sameAs: BytePath?
  /// Of a directory: its names in the order of readdir, as a hash.
  package var orderHash: UInt64?

  package static func == (left: SnapshotEntry, right: SnapshotEntry) -> Bool {
    left.path == right.path && left.differences(to: right, exactHoles: true).isEmpty
  }

  /// Each difference as one short text.
  package func differences(to other: SnapshotEntry, exactHoles: Bool) -> [String] {
    var found: [String] = []
    func compare<Value: Equatable>(
      _ what: String, _ mine: Value, _ theirs: Value, _ show: (Value) -> String
    ) {
      if mine != theirs { found.append("\(what) \(show(mine)) ≠ \(show(theirs))") }
    }
    compare("mode", mode, other.mode) { "0" + String($0, radix: 8) }
    compare("links", links, other.links) { "\($0)" }
    compare("owner", owner, other.owner) { "\($0)" }
    compare("group", group, other.group) { "\($0)" }
    compare("size", size, other.size) { "\($0)" }
    compare("rdev", device, other.device) { "\($0)" }
    compare("mtime", modified.map(ExplicitTime.text), other.modified.map(ExplicitTime.text)) {
      $0 ?? "not set by a caller"
    }
    compare("xattrs", attributes, other.attributes) { $0.map(\.description).joined(separator: " ") }
    compare("target", target, other.target) { printable($0 ?? []) }
    compare("hard link to", sameAs, other.sameAs) { $0?.description ?? "nothing" }
    compare("order of names", orderHash, other.orderHash) { hexadecimal($0 ?? 0) }
    compare("content", content?.hash, other.content?.hash) { hexadecimal($0 ?? 0) }
    if exactHoles {
      compare("hole map", content?.reportedMapHash, other.content?.reportedMapHash) {
        hexadecimal($0 ?? 0)
      }
    }
    return found
  }

  package var line: String {
    var text = "0\(String(mode, radix: 8)) \(links) \(owner):\(group) \(size)"
    if device != 0 { text += " rdev \(device)" }
    if let modified { text += " mtime \(ExplicitTime.text(modified))" }
    if let content {
      text += " content \(hexadecimal(content.hash)) in \(content.segments) segments"
    }
    if !attributes.isEmpty { text += " " + attributes.map(\.description).joined(separator: " ") }
    text += " \(path.bytes.isEmpty ? "." : path.description)"
    if let target { text += " -> \(printable(target))" }
    if let sameAs { text += " = \(sameAs)" }
    return text
  }
}

package struct SnapshotAttribute: Equatable, Sendable, CustomStringConvertible {
  package var name: [UInt8]
  package var valueHash: UInt64
  package var length: Int

  package var description: String {
    "\(printable(name))[\(length)]=\(hexadecimal(valueHash).suffix(6))"
  }
}

/// Times that a test sets carry a mark in their nanoseconds: only those are compared, and all of
/// them are, so a time that should have been changed by a write and was not is found as well.
package enum ExplicitTime {
  private static let mark = 777_777_000
  /// A clock may show the mark by chance, so no time of these decades counts as set.
  private static let present = 1_700_000_000..<2_400_000_000

  package static func make(_ random: inout SeededRandom) -> timespec {
    // From 1910 to 2160: before the epoch, and beyond 32 bits.
    var seconds = random.within(-1_893_456_000...6_000_000_000)
    if present.contains(seconds) { seconds += present.count }
    return timespec(tv_sec: seconds, tv_nsec: mark + random.below(1000))
  }

  package static func of(_ time: timespec) -> timespec? {
    time.tv_nsec / 1000 == mark / 1000 && !present.contains(time.tv_sec) ? time : nil
  }

  package static func text(_ time: timespec) -> String { "\(time.tv_sec).\(time.tv_nsec)" }
}

extension SnapshotEntry {
  /// Reads one object. `sameAs` and `orderHash` are the walk's to fill in.
  package init(path: BytePath, at full: BytePath, status: stat) throws(SystemError) {
    self.path = path
    mode = status.st_mode
    links = UInt64(status.st_nlink)
    owner = status.st_uid
    group = status.st_gid
    size = Int(status.st_size)
    device = UInt64(status.st_rdev)
    modified = ExplicitTime.of(status.st_mtim)
    attributes = []
    for name in try ExtendedAttributes.names(full) {
      let value = try ExtendedAttributes.value(full, name)
      attributes.append(
        SnapshotAttribute(
          name: name, valueHash: value.withUnsafeBytes(ContentHash.of), length: value.count))
    }
    switch mode & S_IFMT {
    case S_IFREG:
      let descriptor = try check("open \(path)") {
        full.withCPath { open($0, O_RDONLY | O_NOFOLLOW) }
      }
      defer { close(descriptor) }
      content = try FileReader.content(of: descriptor, size: size, path: path)
    case S_IFLNK:
      var buffer = [CChar](repeating: 0, count: 4097)
      let count = try check("readlink \(path)") {
        full.withCPath { readlink($0, &buffer, 4096) }
      }
      target = buffer[..<count].map { UInt8(bitPattern: $0) }
    default: break
    }
  }
}

import FSCore
import Glibc

/// What a descriptor of a process that asks for something is open for, found out in /proc alone: to follow
/// the link there, or to look at what it leads to, could become a request to this mount, for the answer to
/// which the thread would wait that has to give it.
struct CallerDescriptor {
  /// `0:45`: the number of the device that a mount shows.
  let device: String
  /// As stat(2) shows it.
  let inode: UInt64

  /// Nil where this process may not look, or there is no such descriptor. The process waits for the
  /// answer to its request meanwhile.
  init?(process: Int32, descriptor: Int64) {
    guard descriptor >= 0, descriptor <= Int64(Int32.max) else { return nil }
    let fields = Self.fields(MountTable.readAll("/proc/\(process)/fdinfo/\(descriptor)"))
    guard let mount = fields["mnt_id"], let inode = fields["ino"].flatMap({ UInt64($0) }),
      let device = Self.device(
        ofMount: mount, in: MountTable.readAll("/proc/\(process)/mountinfo"))
    else { return nil }
    self.device = device
    self.inode = inode
  }

  /// Whether the process is known to have no such descriptor.
  static func isMissing(process: Int32, descriptor: Int64) -> Bool {
    let directory = "/proc/\(process)/fdinfo"
    return access("\(directory)/\(descriptor)", F_OK) != 0 && errno == ENOENT
      && access(directory, R_OK | X_OK) == 0
  }

  /// The lines `name: value` of a file in /proc.
  static func fields(_ text: String) -> [Substring: Substring] {
    var fields: [Substring: Substring] = [:]
    for line in text.split(separator: "\n") {
      guard let colon = line.firstIndex(of: ":") else { continue }
      let value = line[line.index(after: colon)...].drop { $0 == " " || $0 == "\t" }
      fields[line[..<colon]] = value
    }
    return fields
  }

  /// The third field of the line that begins with the mount's number.
  static func device(ofMount id: Substring, in table: String) -> String? {
    for line in table.split(separator: "\n") {
      let fields = line.split(separator: " ", maxSplits: 3)
      if fields.count > 2, fields[0] == id { return String(fields[2]) }
    }
    return nil
  }
}

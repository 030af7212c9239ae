import FSCore
import Glibc

/// A subvolume, to the byte as `btrfs subvolume show` prints it. That has the time of creation where it
/// says when a subvolume was sent; the control channel and JSON have what the image says.
enum SubvolumeText {
  static let topLevelName = "<FS_TREE>"

  /// The path from the top level. Where it is not known the name stands behind a mark.
  static func path(_ report: SubvolumeReport) -> [UInt8] {
    let path = report.wholePath
    return path.isEmpty && !report.isTopLevel ? Array("<UNKNOWN>/".utf8) + report.wholeName : path
  }

  static func lines(_ report: SubvolumeReport, snapshots: [SubvolumeReport]) -> [[UInt8]] {
    let isTop = report.isTopLevel
    let pairs = [
      ("UUID:", report.uuid ?? "-"),
      ("Parent UUID:", report.parentUuid ?? "-"),
      ("Received UUID:", report.receivedUuid ?? "-"),
      ("Creation time:", text(report.creationTime)),
      ("Subvolume ID:", "\(report.id)"),
      ("Generation:", "\(report.generation)"),
      ("Gen at creation:", "\(report.creationGeneration)"),
      ("Parent ID:", "\(report.parent ?? 0)"),
      ("Top level ID:", "\(report.parent ?? 0)"),
      ("Flags:", report.isReadOnly ? "readonly" : "-"),
      ("Send transid:", "\(report.sendGeneration)"),
      ("Send time:", text(report.creationTime)),
      ("Receive transid:", "\(report.receiveGeneration)"),
      ("Receive time:", text(report.receiveTime)),
    ]
    var lines = [isTop ? [UInt8(ascii: "/")] : path(report)]
    func add(_ name: String, _ value: [UInt8]) {
      let tabs = String(repeating: "\t", count: name.count < 8 ? 3 : name.count < 16 ? 2 : 1)
      lines.append(Array("\t\(name) \(tabs)".utf8) + value)
    }
    add("Name:", isTop ? Array(topLevelName.utf8) : report.wholeName)
    for (name, value) in pairs { add(name, Array(value.utf8)) }
    lines.append(Array("\tSnapshot(s):".utf8))
    lines += snapshots.map { Array("\t\t\t\t".utf8) + path($0) }
    return lines
  }

  /// Local time; `-` for none.
  static func text(_ time: SubvolumeReport.Time, zone: Bool = true) -> String {
    guard time.seconds != 0 else { return "-" }
    var seconds = time_t(time.seconds)
    var local = tm()
    localtime_r(&seconds, &local)
    var buffer = [CChar](repeating: 0, count: 64)
    let count = strftime(
      &buffer, buffer.count, zone ? "%Y-%m-%d %H:%M:%S %z" : "%Y-%m-%d %H:%M:%S", &local)
    return String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}

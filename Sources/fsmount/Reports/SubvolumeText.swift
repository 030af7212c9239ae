import FSCore
import Glibc

/// Subvolumes in the words of `btrfs subvolume`.
enum SubvolumeText {
  static let topLevelName = "<FS_TREE>"

  /// What a line of a list tells beside number, generation, top level and path.
  struct Columns {
    var creationGeneration = false
    var parent = false
    var creationTime = false
    var parentUUID = false
    var receivedUUID = false
    var uuid = false
  }

  static func line(_ report: SubvolumeReport, _ columns: Columns) -> String {
    var parts = ["ID \(report.id)", "gen \(report.generation)"]
    if columns.creationGeneration { parts.append("cgen \(report.creationGeneration)") }
    let parent = report.parent ?? 0
    if columns.parent { parts.append("parent \(parent)") }
    parts.append("top level \(parent)")
    if columns.creationTime { parts.append("otime \(text(report.creationTime, zone: false))") }
    if columns.parentUUID { parts.append("parent_uuid \(padded(report.parentUuid))") }
    if columns.receivedUUID { parts.append("received_uuid \(padded(report.receivedUuid))") }
    if columns.uuid { parts.append("uuid \(padded(report.uuid))") }
    parts.append("path \(report.path)")
    return parts.joined(separator: " ")
  }

  private static func padded(_ uuid: String?) -> String {
    uuid ?? "-" + String(repeating: " ", count: 35)
  }

  static func lines(_ answer: SubvolumeShowCall.Answer) -> [String] {
    let report = answer.subvolume
    let isTop = report.parent == nil
    let pairs = [
      ("Name:", isTop ? topLevelName : report.name),
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
      ("Send time:", text(report.sendTime)),
      ("Receive transid:", "\(report.receiveGeneration)"),
      ("Receive time:", text(report.receiveTime)),
    ]
    var lines = [isTop ? "/" : report.path]
    for (name, value) in pairs {
      let tabs = String(repeating: "\t", count: name.count < 8 ? 3 : name.count < 16 ? 2 : 1)
      lines.append("\t\(name) \(tabs)\(value)")
    }
    lines.append("\tSnapshot(s):")
    lines += answer.snapshots.map { "\t\t\t\t\($0)" }
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

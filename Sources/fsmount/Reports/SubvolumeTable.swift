import FSCore

/// A list of subvolumes, to the byte as `btrfs subvolume list` prints it.
struct SubvolumeTable {
  struct Entry {
    let report: SubvolumeReport
    /// As it is to be written.
    let path: [UInt8]
  }

  /// In the order in which they stand in a line, and named as there.
  enum Column: String {
    case id = "ID"
    case generation = "gen"
    case creationGeneration = "cgen"
    case parent
    case topLevel = "top level"
    case creationTime = "otime"
    case parentUUID = "parent_uuid"
    case receivedUUID = "received_uuid"
    case uuid
    case path
  }

  let columns: [Column]

  /// Each value behind its name.
  func line(_ entry: Entry) -> [UInt8] {
    Array(
      columns.map { Array("\($0.rawValue) ".utf8) + value($0, entry) }
        .joined(separator: [UInt8(ascii: " ")]))
  }

  /// The values alone, divided by tabs.
  func row(_ entry: Entry) -> [UInt8] {
    Array(
      columns.map { column in
        // The name takes the width of two.
        value(column, entry) + (column == .topLevel ? [UInt8(ascii: "\t")] : [])
      }.joined(separator: [UInt8(ascii: "\t")]))
  }

  /// What stands above the rows.
  var heading: [[UInt8]] {
    let names = columns.map(\.rawValue)
    let rules = names.map { String(repeating: "-", count: $0.count) }
    return [names, rules].map { Array($0.map { $0 + "\t" }.joined().utf8) }
  }

  private func value(_ column: Column, _ entry: Entry) -> [UInt8] {
    let report = entry.report
    let text: String
    switch column {
    case .id: text = "\(report.id)"
    case .generation: text = "\(report.generation)"
    case .creationGeneration: text = "\(report.creationGeneration)"
    case .parent, .topLevel: text = "\(report.parent ?? 0)"
    case .creationTime: text = SubvolumeText.text(report.creationTime, zone: false)
    case .parentUUID: text = Self.padded(report.parentUuid)
    case .receivedUUID: text = Self.padded(report.receivedUuid)
    case .uuid: text = Self.padded(report.uuid)
    case .path: return entry.path
    }
    return Array(text.utf8)
  }

  private static func padded(_ uuid: String?) -> String {
    uuid ?? "-" + String(repeating: " ", count: 35)
  }
}

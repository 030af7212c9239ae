import FSCore
import FreeSpace

/// The findings about the record of free space of an image, as text or JSON.
struct CacheReport {
  let path: String
  let superblock: Superblock
  let record: CacheSurvey.Record
  let doubt: String?
  let groups: [CacheSurvey.Group]
  let problems: [String]
  let isVerified: Bool
  let showsEntries: Bool

  /// Whether some cache is not to be believed, or could not be looked at.
  var hasFindings: Bool {
    !problems.isEmpty
      || groups.contains {
        $0.verdict == .stale || $0.verdict == .wrong || $0.comparison?.isIncomplete == true
      }
  }

  func lines(_ style: TextStyle) -> [String] {
    var lines = heading(style) + [""] + table(style)
    lines += reasons(style)
    if showsEntries {
      for group in groups where group.pages != nil || group.treeItems != nil {
        lines += [""] + CacheDetails(group: group).lines(style)
      }
    }
    return lines + ["", summary(style)]
  }

  private func heading(_ style: TextStyle) -> [String] {
    let cacheGeneration =
      superblock.cacheGeneration == .max ? "none yet" : "\(superblock.cacheGeneration)"
    let kind = record == .freeSpaceTree ? "free space tree" : "cache generation \(cacheGeneration)"
    var lines = [
      style.paint(path, .bold) + "  generation \(superblock.generation), \(kind)"
    ]
    let nothing =
      record == .freeSpaceTree ? "It would not be believed: " : "No cache would be believed: "
    if let doubt { lines.append(style.paint(nothing, .yellow) + doubt) }
    return lines
  }

  private func table(_ style: TextStyle) -> [String] {
    var columns: [(String, TextTable.Alignment)] = [
      ("START", .right), ("LENGTH", .right), ("TYPE", .left), ("PROFILE", .left), ("IN USE", .left),
      ("", .right), ("USED", .right), (record == .freeSpaceTree ? "TREE" : "CACHE", .left),
      ("GEN", .right), ("EXTENTS", .right),
      ("MAPS", .right), ("FREE", .right), ("LARGEST", .right), ("PAGES", .left),
    ]
    if isVerified { columns.append(("EXTENT TREE", .left)) }
    var table = TextTable(columns)
    for group in groups { table.add(row(group, style)) }
    return table.lines(style)
  }

  private func row(_ group: CacheSurvey.Group, _ style: TextStyle) -> [TextTable.Cell] {
    let flags = group.chunk.item.flags
    let percent = group.length > 0 ? Int(Double(group.used) / Double(group.length) * 100) : 0
    let fill: TextStyle.Color = percent >= 95 ? .red : percent >= 80 ? .yellow : .green
    func size(_ bytes: UInt64?) -> TextTable.Cell { .init(bytes.map(ByteCount.text) ?? "") }
    func number(_ value: UInt64?) -> TextTable.Cell { .init(value.map { "\($0)" } ?? "") }
    let header = group.header
    let items = group.treeItems
    let extents =
      items?.extentCount
      ?? header.map { $0.entryCount &- min($0.bitmapCount, $0.entryCount) }

    var cells: [TextTable.Cell] = [
      .init("\(group.start)"), size(group.length), .init(flags.typeName),
      .init(flags.profileName), .init(style.bar(group.used, of: group.length, width: 10), fill),
      .init("\(percent)%"), size(group.used), state(of: group),
      number(header?.generation.rawValue), number(extents),
      number(items?.bitmapCount ?? header?.bitmapCount),
      size(group.freeBytes), size(group.largestRun), pages(of: group),
    ]
    if isVerified { cells.append(judgement(of: group)) }
    return cells
  }

  private func state(of group: CacheSurvey.Group) -> TextTable.Cell {
    switch group.verdict {
    case .valid: .init("valid", .green)
    case .elsewhere: .init("elsewhere", .dim)
    case .stale: .init("stale", .yellow)
    case .givenUp: .init("given up", .yellow)
    case .wrong: .init("wrong", .red)
    case .absent:
      .init(group.length < Format.smallestCachedGroup ? "too small" : "none", .dim)
    }
  }

  private func pages(of group: CacheSurvey.Group) -> TextTable.Cell {
    guard let pages = group.pages else { return .init("") }
    if !pages.bad.isEmpty { return .init("\(pages.bad.count) of \(pages.usedCount) bad", .red) }
    return .init("\(pages.usedCount) of \(pages.count)")
  }

  private func judgement(of group: CacheSurvey.Group) -> TextTable.Cell {
    guard let comparison = group.comparison else { return .init("") }
    if comparison.isIncomplete { return .init("unreadable", .red) }
    guard group.isWhole else {
      return .init("\(ByteCount.text(comparison.freeBytes)) free", .dim)
    }
    return comparison.agrees ? .init("agrees", .green) : .init("differs", .red)
  }

  private func reasons(_ style: TextStyle) -> [String] {
    var lines: [String] = []
    for group in groups where group.verdict != .absent && group.verdict != .valid {
      let state = state(of: group)
      for reason in group.reasons where reason != doubt {
        lines.append(style.paint("\(group.start) \(state.text): ", state.color) + reason)
      }
      guard let comparison = group.comparison else { continue }
      lines += ranges(comparison.usedButListed, "is in use and listed as free", style)
      lines += ranges(comparison.freeButMissing, "is free and not listed", style)
    }
    return lines.isEmpty ? [] : [""] + lines
  }

  private func ranges(
    _ ranges: CacheSurvey.Ranges, _ what: String, _ style: TextStyle
  ) -> [String] {
    var lines = ranges.first.map { "    \($0.start) + \($0.length) \(what)" }
    if ranges.count > ranges.first.count {
      lines.append("    and \(ranges.count - ranges.first.count) more")
    }
    return lines
  }

  private func summary(_ style: TextStyle) -> String {
    func count(_ verdict: CacheSurvey.Verdict) -> Int {
      groups.filter { $0.verdict == verdict }.count
    }
    let used = groups.reduce(0) { $0 &+ $1.used }
    let small = groups.filter {
      $0.verdict == .absent && $0.length < Format.smallestCachedGroup
    }.count
    var parts = ["\(groups.count) block group\(groups.count == 1 ? "" : "s")"]
    parts.append("\(ByteCount.text(used)) used")
    let states: [(Int, String, TextStyle.Color?)] = [
      (count(.valid), "valid", .green), (count(.stale), "stale", .yellow),
      (count(.givenUp), "given up", .yellow), (count(.wrong), "wrong", .red),
      (count(.elsewhere), "on other devices", nil), (count(.absent) - small, "not written", nil),
      (small, "too small for one", nil),
    ]
    let caches = states.filter { $0.0 > 0 }.map { style.paint("\($0.0) \($0.1)", $0.2) }
    let record = record == .freeSpaceTree ? "; free space tree: " : "; caches: "
    return parts.joined(separator: ", ") + record + caches.joined(separator: ", ")
  }
}

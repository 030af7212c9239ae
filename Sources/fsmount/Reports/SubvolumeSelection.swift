import FSCore

/// Which subvolumes are listed, in which order, and how their paths are written.
struct SubvolumeSelection {
  enum Form {
    /// From the subvolume that was asked, where they stand below it.
    case relative
    /// Only those that stand directly in it, from the top level.
    case below
    /// From the top level; all but those that stand directly in it are marked.
    case marked
  }

  /// `N`, `+N` or `-N`.
  struct Bound: Equatable {
    let range: ClosedRange<UInt64>

    init?(_ text: String) {
      let sign = text.first
      let digits = sign == "+" || sign == "-" ? text.dropFirst() : text[...]
      guard digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = UInt64(digits)
      else { return nil }
      range =
        switch sign {
        case "+": number...UInt64.max
        case "-": 0...number
        default: number...number
        }
    }
  }

  /// What they are sorted by: `gen`, `+gen` or `-gen`, and the like.
  struct Order: Equatable {
    enum Key: String {
      case generation = "gen"
      case creationGeneration = "ogen"
      case id = "rootid"
      case path
    }

    let key: Key
    let isDescending: Bool

    init?(_ text: Substring) {
      isDescending = text.hasPrefix("-")
      let word = isDescending || text.hasPrefix("+") ? text.dropFirst() : text
      guard let key = Key(rawValue: String(word)) else { return nil }
      self.key = key
    }

    /// Whether `a` comes before `b`; nil where they are the same in this.
    func isBefore(_ a: SubvolumeTable.Entry, _ b: SubvolumeTable.Entry) -> Bool? {
      func ascending<V: Comparable>(_ a: V, _ b: V) -> Bool? {
        a == b ? nil : (a < b) != isDescending
      }
      switch key {
      case .generation: return ascending(a.report.generation, b.report.generation)
      case .creationGeneration:
        return ascending(a.report.creationGeneration, b.report.creationGeneration)
      case .id: return ascending(a.report.id, b.report.id)
      case .path:
        guard a.path != b.path else { return nil }
        return a.path.lexicographicallyPrecedes(b.path) != isDescending
      }
    }
  }

  var form = Form.relative
  var snapshotsOnly = false
  var readOnlyOnly = false
  var deletedOnly = false
  var generation: Bound?
  var creationGeneration: Bound?
  /// Without any, by number.
  var order: [Order] = []

  /// What btrfs calls the path of a deleted one.
  private static let deletedPath = Array("DELETED".utf8)
  private static let mark = Array("<FS_TREE>/".utf8)

  func entries(of answer: SubvolumeListCall.Answer) -> [SubvolumeTable.Entry] {
    let asked = answer.asked ?? TreeID.topLevel.rawValue
    let all = deletedOnly ? answer.deleted ?? [] : answer.subvolumes
    let askedPath = answer.subvolumes.first { $0.id == asked }?.wholePath ?? []
    let entries = all.filter { isWanted($0, asked) }.map { report in
      SubvolumeTable.Entry(report: report, path: path(of: report, asked, askedPath))
    }
    return entries.sorted { a, b in
      for order in order {
        if let isBefore = order.isBefore(a, b) { return isBefore }
      }
      return a.report.id < b.report.id
    }
  }

  private func isWanted(_ report: SubvolumeReport, _ asked: UInt64) -> Bool {
    !report.isTopLevel && (!snapshotsOnly || report.parentUuid != nil)
      && (!readOnlyOnly || report.isReadOnly) && (form != .below || report.parent == asked)
      && generation?.range.contains(report.generation) ?? true
      && creationGeneration?.range.contains(report.creationGeneration) ?? true
  }

  private func path(
    of report: SubvolumeReport, _ asked: UInt64, _ askedPath: [UInt8]
  ) -> [UInt8] {
    let path = deletedOnly ? Self.deletedPath : SubvolumeText.path(report)
    switch form {
    case .below: return path
    case .marked: return report.parent == asked ? path : Self.mark + path
    case .relative:
      let above = askedPath + [UInt8(ascii: "/")]
      guard !askedPath.isEmpty, path.starts(with: above) else { return path }
      return Array(path.dropFirst(above.count))
    }
  }
}

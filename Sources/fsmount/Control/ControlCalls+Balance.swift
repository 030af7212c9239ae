import FSCore

/// Begins a balance, which runs on a thread of its own.
struct BalanceStartCall: ControlCall {
  static let command = "balance_start"
  typealias Answer = BalanceReport

  /// Filters of block groups of each type, as btrfs writes them: `usage=50,limit=2`. Missing: groups
  /// of this type stay; empty: all of them move.
  var data: String?
  var metadata: String?
  var system: String?
  /// System groups may move otherwise than metadata, and copies may become fewer.
  var force: Bool?

  func plan() throws(FilesystemError) -> BalancePlan {
    func filter(_ text: String?) throws(FilesystemError) -> BalanceFilter? {
      guard let text else { return nil }
      return try BalanceFilter(text: text)
    }
    var plan = BalancePlan()
    plan.data = try filter(data)
    plan.metadata = try filter(metadata)
    plan.system = try filter(system)
    plan.isForced = force ?? false
    return plan
  }
}

struct BalanceStatusCall: ControlCall {
  static let command = "balance_status"
  typealias Answer = BalanceReport
}

struct BalancePauseCall: ControlCall {
  static let command = "balance_pause"
  typealias Answer = BalanceReport
}

struct BalanceResumeCall: ControlCall {
  static let command = "balance_resume"
  typealias Answer = BalanceReport
}

struct BalanceCancelCall: ControlCall {
  static let command = "balance_cancel"
  typealias Answer = BalanceReport
}

/// What a balance is at.
struct BalanceReport: Codable, Sendable, Equatable {
  /// `none`, `running`, `stopping` or `paused`.
  var phase: String
  /// What it was told, in words; nil where there was none.
  var plan: String?
  /// Block groups that were or are to be moved, that were looked at, and that were moved.
  var expected: Int
  var considered: Int
  var done: Int
  var bytesExpected: UInt64
  var bytesMoved: UInt64
  /// How much is done, from 0 to 1, which is only at the end. Nil from an older program.
  var progress: Double?
  /// How the last one has ended: `completed`, `cancelled`, `no_space` or `failed`.
  var outcome: String?
  /// Why it failed, or how many groups there was no room for.
  var reason: String?

  init(_ status: BalanceStatus) {
    phase = status.phase.rawValue
    plan = status.plan.map(Self.words)
    expected = status.expected
    considered = status.considered
    done = status.done
    bytesExpected = status.bytesExpected
    bytesMoved = status.bytesMoved
    progress = status.progress
    switch status.outcome {
    case nil: break
    case .completed: outcome = "completed"
    case .cancelled: outcome = "cancelled"
    case .noSpace(let groups):
      outcome = "no_space"
      reason = "there was no room for what is in \(groups) block group\(groups == 1 ? "" : "s")"
    case .failed(let why):
      outcome = "failed"
      reason = why
    }
  }

  private static func words(_ plan: BalancePlan) -> String {
    let parts = [("data", plan.data), ("metadata", plan.metadata), ("system", plan.system)]
    return parts.compactMap { name, filter in filter.map { "\(name) (\(words($0)))" } }
      .joined(separator: ", ")
  }

  /// A filter as btrfs writes it.
  private static func words(_ filter: BalanceFilter) -> String {
    func name(_ profile: BalanceFilter.Profile) -> String { profile == .dup ? "dup" : "single" }
    var parts: [String] = []
    if let profiles = filter.profiles {
      parts.append("profiles=" + profiles.map(name).sorted().joined(separator: "|"))
    }
    if let usage = filter.usage { parts.append("usage=\(usage.lowerBound)..\(usage.upperBound)") }
    if let limit = filter.limit { parts.append("limit=\(limit.lowerBound)..\(limit.upperBound)") }
    if let device = filter.device { parts.append("devid=\(device)") }
    if let range = filter.deviceRange {
      parts.append("drange=\(range.lowerBound)..\(range.upperBound)")
    }
    if let range = filter.range { parts.append("vrange=\(range.lowerBound)..\(range.upperBound)") }
    if let target = filter.target { parts.append("convert=\(name(target))") }
    if filter.isSoft { parts.append("soft") }
    return parts.isEmpty ? "all" : parts.joined(separator: ",")
  }
}

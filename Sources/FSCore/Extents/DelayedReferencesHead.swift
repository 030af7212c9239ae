/// All that the running transaction changes about one extent and that is not in the extent
/// tree yet.
struct DelayedHead: Sendable {
  let kind: ExtentKind

  /// The extent was allocated in this transaction and has no item yet.
  private(set) var isNew: Bool

  /// The block is to get FULL_BACKREF.
  private(set) var setsFullBackref = false

  /// What was added contradicts itself, which only a damaged image can bring about.
  private(set) var isContradictory = false

  // Nearly all extents have one change: it needs no memory of its own.
  private var only: ReferenceChange?
  private var others: [ReferenceIdentity: Int64] = [:]

  init(kind: ExtentKind, isNew: Bool) {
    self.kind = kind
    self.isNew = isNew
  }

  /// Counts a change in; opposite ones of one identity cancel out.
  mutating func add(
    _ kind: ExtentKind, _ identity: ReferenceIdentity, count: Int32, newExtent: Bool
  ) {
    if newExtent {
      // Only the first reference comes with the allocation.
      isContradictory = isContradictory || !isNew || !isEmpty
    }
    isContradictory =
      isContradictory || kind != self.kind || identity.isData == kind.isTreeBlock
    merge(identity, Int64(count))
  }

  /// Counts in what was noted after all that is noted here.
  mutating func add(_ later: DelayedHead) {
    isContradictory =
      isContradictory || later.isContradictory || later.isNew || later.kind != kind
    setsFullBackref = setsFullBackref || later.setsFullBackref
    if let change = later.only { merge(change.identity, change.count) }
    for (identity, count) in later.others { merge(identity, count) }
  }

  mutating func setFullBackref(_ kind: ExtentKind) {
    isContradictory = isContradictory || kind != self.kind || !kind.isTreeBlock
    setsFullBackref = true
  }

  private mutating func merge(_ identity: ReferenceIdentity, _ count: Int64) {
    guard count != 0 else { return }
    if only == nil && others.isEmpty {
      only = ReferenceChange(identity: identity, count: count)
    } else if only?.identity == identity {
      only!.count += count
      if only!.count == 0 { only = nil }
    } else {
      let sum = others[identity, default: 0] + count
      others[identity] = sum == 0 ? nil : sum
    }
  }

  /// Whether no reference changes in the end.
  var isEmpty: Bool { only == nil && others.isEmpty }

  /// How many places in the extent tree it may change: what is kept back for it goes by that.
  var weight: Int { max(1, others.count + (only == nil ? 0 : 1)) }

  /// Whether nothing is left to be done by `run`. The checksums of new data that has lost its
  /// references still are.
  var isSettled: Bool {
    isEmpty && !isContradictory && (isNew ? kind.isTreeBlock : !setsFullBackref)
  }

  /// By how much the number of references changes.
  var balance: Int64 { others.values.reduce(only?.count ?? 0, +) }

  /// Whether references of another identity than this change.
  func concernsOthers(than identity: ReferenceIdentity) -> Bool {
    if let only, only.identity != identity { return true }
    return others.contains { $0.key != identity }
  }

  /// Whether references go of an identity for which `condition` holds.
  func takesFrom(_ condition: (ReferenceIdentity) -> Bool) -> Bool {
    if let only, only.count < 0, condition(only.identity) { return true }
    return others.contains { $0.value < 0 && condition($0.key) }
  }

  /// Calls `body` for each change, in the order in which they are to be applied.
  func forEachChange(
    _ body: (ReferenceChange) throws(FilesystemError) -> Void
  ) throws(FilesystemError) {
    guard !others.isEmpty else {
      if let only { try body(only) }
      return
    }
    var changes = others.map { ReferenceChange(identity: $0.key, count: $0.value) }
    if let only { changes.append(only) }
    changes.sort(by: ReferenceChange.isApplied(_:before:))
    for change in changes { try body(change) }
  }
}

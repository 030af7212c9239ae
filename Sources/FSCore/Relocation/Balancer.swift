import Logging

/// Balances: moves what is in block groups into others, and gives the emptied ones back. One at a
/// time, on a thread of its own. Lock rank: `leaf`.
///
/// 1. The image has a balance item exactly while a balance runs or is paused, so that the next mount,
///    ours or Linux's, goes on with it. The item comes and goes in a transaction of its own.
/// 2. Groups are taken by descending address, as they were at the start: those that the balance
///    itself makes lie above, and are not moved again.
/// 3. Whether a group matches is asked again when its turn comes.
/// 4. Between two extents, and whenever it is told to stop, all trees are whole. A group that is
///    left becomes writable again.
/// 5. An error that has not aborted the volume ends the balance, its item goes, and the volume stays
///    as good as it was. A group for which there is no room is left out and counted.
package final class Balancer: Sendable {
  private enum Request { case none, pause, cancel, suspend }

  private struct State {
    /// Without what `tally` knows.
    var status = BalanceStatus()
    var tally = BalanceTally()
    var request = Request.none
    var thread: BackgroundThread?
    /// Whether the thread has something to do.
    var isRunning = false
    /// What else moves block groups now.
    var other: String?
    /// The file system is being unmounted: nothing begins any more.
    var isEnding = false
  }

  private let emptier: GroupEmptier
  private let space: Space
  private let root: Tree
  private let transactions: TransactionManager
  private let log: Logger
  private let readOnlyReason: String?
  private let state = Guarded(State(), rank: .leaf)

  init(
    emptier: GroupEmptier, space: Space, root: Tree, transactions: TransactionManager,
    readOnlyReason: String?, log: Logger
  ) {
    self.emptier = emptier
    self.space = space
    self.root = root
    self.transactions = transactions
    self.readOnlyReason = readOnlyReason
    self.log = log
  }

  // What a user can do.

  package var status: BalanceStatus {
    state.withLock { state in
      var status = state.status
      status.take(state.tally)
      return status
    }
  }

  /// Begins a balance, and returns when it is noted in the image; its thread does the rest. That
  /// nothing matches is fine. Called with no lock held.
  ///
  /// Throws `.busy` when one runs or is paused, `.readOnly`, `.invalidArgument` for a plan that
  /// makes no sense here, and what the device answered.
  package func start(_ plan: BalancePlan) throws(FilesystemError) {
    try requireWritable()
    try check(plan)
    try claim(from: .none) { state in
      state.status = BalanceStatus()
      state.status.plan = plan
      state.tally = BalanceTally()
    }
    do throws(FilesystemError) {
      let item = BalanceItem(plan: plan)
      try transactions.perform(reserving: 1) { handle throws(FilesystemError) in
        try root.replace(BalanceItem.key, size: BalanceItem.size, in: handle) {
          item.encode(into: $0)
        }
      }
      try emptier.committer.commit()
    } catch {
      // The item may be in memory: the next commit must not leave it behind. Had this aborted the
      // volume, none would follow.
      try? transactions.perform(reserving: 1, for: .freeing) { handle throws(FilesystemError) in
        _ = try root.delete(BalanceItem.key, in: handle)
      }
      end(.failed("\(error)"))
      throw error
    }
    run(plan)
  }

  /// Goes on with a balance that is paused. Throws `.notFound` when there is none, `.busy` when it
  /// runs.
  package func resume() throws(FilesystemError) {
    try requireWritable()
    guard let plan = status.plan else { throw .notFound }
    try claim(from: .paused) { _ in }
    run(Self.resumed(plan))
  }

  /// Tells a running balance to pause, without waiting for it. False when none runs.
  package func requestPause() -> Bool { ask(.pause) }

  /// Tells a running balance to end, without waiting for it. False when none runs.
  package func requestCancel() -> Bool { ask(.cancel) }

  /// Pauses a running balance, and waits until it has stopped, which takes as long as one extent.
  /// Throws `.notFound` when none runs.
  package func pause() throws(FilesystemError) {
    guard ask(.pause) else { throw .notFound }
    join()
  }

  /// Ends a balance that runs or is paused: what has moved stays where it is. Throws `.notFound`
  /// when there is none.
  package func cancel() throws(FilesystemError) {
    if ask(.cancel) {
      join()
      return
    }
    try requireWritable()
    do throws(FilesystemError) {
      try claim(from: .paused) { _ in }
    } catch {
      throw .notFound
    }
    do throws(FilesystemError) {
      try forget()
    } catch {
      state.update { $0.status.phase = .paused }
      throw error
    }
    end(.cancelled)
  }

  /// Waits until no balance runs, at most so long; says whether that is so.
  package func wait(seconds: Double) -> Bool {
    state.wait(atMost: seconds) { !$0.isRunning }
  }

  /// Runs `body`, which moves block groups as well, while no balance runs, and none can be started.
  /// Throws `.busy` when one runs or is paused.
  ///
  /// - Parameter name: what callers are told that come meanwhile.
  /// - Parameter body: told how to ask whether to go on: no longer when the file system is being
  ///   unmounted.
  func whileIdle<R>(
    _ name: String, _ body: (_ goesOn: () -> Bool) throws(FilesystemError) -> R
  ) throws(FilesystemError) -> R {
    try requireWritable()
    let reason = state.withLock { state -> String? in
      if state.isEnding { return Self.ending }
      if let other = state.other { return "\(other) is running" }
      if state.isRunning || state.status.phase == .running || state.status.phase == .stopping {
        return "a balance is running"
      }
      if state.status.phase == .paused { return "a balance is paused; resume or cancel it first" }
      state.other = name
      return nil
    }
    if let reason { throw .busy(reason) }
    defer { state.withLock { $0.other = nil } }
    return try body { !state.withLock { $0.isEnding } }
  }

  static let ending = "the file system is being unmounted"

  // Mounting and unmounting.

  /// Finds what an earlier mount has left. It is paused until `resume`. Called once.
  func load() throws(FilesystemError) {
    let item = try root.find(BalanceItem.key) { bytes throws(FilesystemError) in
      try BalanceItem(bytes)
    }
    guard let item else { return }
    state.update { state in
      state.status.plan = item.plan
      state.status.phase = .paused
    }
  }

  /// Tells all that moves block groups to stop, without waiting for it. Nothing begins any more; a
  /// balance is left to the next mount.
  func requestEnd() {
    state.withLock { $0.isEnding = true }
    _ = ask(.suspend)
  }

  /// Stops the thread, and leaves the balance to the next mount.
  func suspend() {
    requestEnd()
    join()
  }

  // The thread.

  private func requireWritable() throws(FilesystemError) {
    if let readOnlyReason { throw .readOnly(readOnlyReason) }
    if let refusal = transactions.refusal { throw refusal }
  }

  private func check(_ plan: BalancePlan) throws(FilesystemError) {
    if plan.data == nil, plan.metadata == nil, plan.system == nil {
      throw .invalidArgument("a balance needs a type of block groups: data, metadata or system")
    }
    try emptier.check(plan)
  }

  /// Makes this thread the one that may begin, or says which balance is in the way.
  private func claim(
    from phase: BalanceStatus.Phase, _ change: (inout State) -> Void
  ) throws(FilesystemError) {
    var other: String?
    let found = state.withLock { state -> BalanceStatus.Phase? in
      other = state.isEnding ? Self.ending : state.other.map { "\($0) is running" }
      guard state.status.phase == phase, !state.isRunning, other == nil else {
        return state.status.phase
      }
      change(&state)
      state.status.phase = .running
      state.status.outcome = nil
      state.request = .none
      return nil
    }
    if let other { throw .busy(other) }
    switch found {
    case nil: return
    case .paused?:
      throw .busy("a balance is paused; it can be resumed or cancelled")
    case BalanceStatus.Phase.none?: throw .notFound
    default: throw .busy("a balance is running")
    }
  }

  /// A balance that goes on passes over what it has moved: it is in groups that are full.
  private static func resumed(_ plan: BalancePlan) -> BalancePlan {
    func resumed(_ filter: BalanceFilter?) -> BalanceFilter? {
      guard var filter else { return nil }
      if filter.target != nil {
        filter.isSoft = true
      } else if filter.usage == nil {
        filter.usage = 0..<90
      }
      return filter
    }
    var plan = plan
    plan.data = resumed(plan.data)
    plan.metadata = resumed(plan.metadata)
    plan.system = resumed(plan.system)
    return plan
  }

  private func run(_ plan: BalancePlan) {
    let ended = state.update { state -> BackgroundThread? in
      state.isRunning = true
      defer { state.thread = nil }
      return state.thread
    }
    ended?.join()
    let thread = BackgroundThread { [self] in
      let outcome = outcome(of: plan)
      state.update { state in
        state.status.phase = outcome == nil ? .paused : .none
        state.status.outcome = outcome
        switch outcome {
        case .completed?, .noSpace?: state.tally.end()
        default: break
        }
        state.isRunning = false
      }
    }
    state.withLock { $0.thread = thread }
  }

  private func ask(_ request: Request) -> Bool {
    state.update { state in
      guard state.isRunning else { return false }
      // A caller that has been told that the balance ends must not find it paused.
      if state.request != .cancel { state.request = request }
      state.status.phase = .stopping
      return true
    }
  }

  private func join() {
    state.when({ !$0.isRunning }) { _ in }
    let thread = state.withLock { state -> BackgroundThread? in
      defer { state.thread = nil }
      return state.thread
    }
    thread?.join()
  }

  private func end(_ outcome: BalanceStatus.Outcome) {
    state.update { state in
      state.status.phase = .none
      state.status.outcome = outcome
    }
  }

  /// Deletes the item.
  private func forget() throws(FilesystemError) {
    try transactions.perform(reserving: 1, for: .freeing) { handle throws(FilesystemError) in
      _ = try root.delete(BalanceItem.key, in: handle)
    }
    try emptier.committer.commit()
  }

  private var mustStop: Bool { state.withLock { $0.request != .none } }

  /// Does it all. Nil when the balance is to go on another time.
  private func outcome(of plan: BalancePlan) -> BalanceStatus.Outcome? {
    var outcome: BalanceStatus.Outcome
    do throws(FilesystemError) {
      let crowded = try moveAll(plan)
      outcome = crowded == 0 ? .completed : .noSpace(groups: crowded)
    } catch {
      outcome = .failed("\(error)")
    }
    switch state.withLock({ $0.request }) {
    case .none: break
    case .cancel: outcome = .cancelled
    case .pause, .suspend:
      if case .failed = outcome { break }
      return nil
    }
    do throws(FilesystemError) {
      try forget()
    } catch {
      outcome = .failed("\(error)")
    }
    switch outcome {
    case .completed, .cancelled: log.info("the balance is \(outcome)")
    case .noSpace(let groups):
      log.warning("the balance has left out \(groups) block groups for lack of space")
    case .failed(let why): log.error("the balance has failed: \(why)")
    }
    return outcome
  }

  /// Moves what matches; returns how many groups there was no room for.
  private func moveAll(_ plan: BalancePlan) throws(FilesystemError) -> Int {
    emptier.beginConversion(plan)
    defer { emptier.endConversion() }
    let groups = space.groups.all.sorted { $0.start > $1.start }
    var expected: [LogicalAddress: UInt64] = [:]
    var counts = [Int](repeating: 0, count: 3)
    for group in groups where try matches(group, plan) {
      counts[Self.typeIndex(group)] += 1
    }
    // A type with fewer groups than its filter wants is left out, and no more than it allows go.
    var left = counts
    for (index, filter) in [plan.data, plan.metadata, plan.system].enumerated() {
      guard let limit = filter?.limit else { continue }
      left[index] =
        counts[index] < Int(limit.lowerBound) ? 0 : min(counts[index], Int(limit.upperBound))
    }
    var seen = [Int](repeating: 0, count: 3)
    for group in groups where try matches(group, plan) {
      let index = Self.typeIndex(group)
      guard seen[index] < left[index] else { continue }
      seen[index] += 1
      expected[group.start] = group.used
    }
    state.update { $0.tally.begin(expected) }

    var crowded = 0
    for group in groups {
      if mustStop { return crowded }
      let index = Self.typeIndex(group)
      state.update { $0.tally.consider() }
      guard left[index] > 0, try matches(group, plan) else {
        state.update { $0.tally.skip(group.start) }
        continue
      }
      left[index] -= 1
      let used = group.used
      state.update { $0.tally.enter(group.start, used: used) }
      do throws(FilesystemError) {
        let isDone = try emptier.empty(group) {
          bytes in
          state.withLock { state in
            state.tally.note(moved: bytes)
            return state.request == .none
          }
        }
        // One that it was told to leave is for another time.
        if isDone || !mustStop { state.update { $0.tally.leave(isDone: isDone) } }
      } catch {
        if let refusal = transactions.refusal { throw refusal }
        switch error {
        case .noSpace:
          log.warning("block group \(group.start) stays: there is no room for what is in it")
        case .busy(let why): log.warning("block group \(group.start) stays: \(why)")
        default: throw error
        }
        crowded += 1
        state.update { $0.tally.leave(isDone: false) }
      }
    }
    return crowded
  }

  private static func typeIndex(_ group: BlockGroup) -> Int {
    if group.flags.contains(.data) { return 0 }
    return group.flags.contains(.system) ? 2 : 1
  }

  private func matches(_ group: BlockGroup, _ plan: BalancePlan) throws(FilesystemError) -> Bool {
    guard let filter = plan.filter(of: group.flags), !group.isReadOnly,
      let chunk = try? space.chunks.map.chunk(containing: group.start)
    else { return false }
    return filter.matches(chunk, used: group.used)
  }
}

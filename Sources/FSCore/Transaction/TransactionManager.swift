import Logging
import Synchronization

/// The one running transaction, the operations that take part in it, and its commit. Lock rank:
/// `transactionGate`.
///
/// 1. At most one transaction runs, and at most one older one is being written.
/// 2. No tree changes but under an open handle, of the running transaction.
/// 3. Inside a critical section no handle is open but those of the committing thread.
/// 4. A transaction's number is one more than that of the last; each number is committed once.
/// 5. After an abort nothing is ever changed or committed again.
/// 6. While a handle of `performAlone` is open no other is, and none is in the midst of anything.
/// 7. The transaction that is being written may be held back, as what the image stands on has no room
///    for it. The next one runs meanwhile, and is not committed before that one is; when memory
///    for it is used up, what would add to it is refused with `.noSpace`. Nobody waits then for the one
///    that is held back.
///
/// States: running → (critical section) → writing, while the next one runs → committed; and
/// writing → held back → writing, as often as need be.
package final class TransactionManager: Sendable {
  private struct State {
    var running: Generation
    var openHandles = 0
    /// Set while the critical section is entered or running.
    var isClosed = false
    /// A thread wants to be alone, or is: no other handle is opened.
    var isForOne = false
    /// The newest transaction that is durable.
    var committed: Generation
    /// The transaction before the running one waits for room on the device.
    var isHeldBack = false
    var failure: FilesystemError?
    /// How many wait for `isClosed` to end; the deadlock tests look at it.
    var waiters = 0
  }

  private let state: Guarded<State>
  private let hasChanges = Atomic<Bool>(false)
  private let reserver: (any MetadataReserver)?
  private let commits: CommitRequests
  private let repairs: MirrorRepairs
  private let log: Logger

  /// Test hook: breaks the rule of the no-lock path, so that the commit joins as anybody does.
  package let commitsThroughGate = Atomic<Bool>(false)

  /// - Parameters:
  ///   - reserver: keeps space for changes; nil where there is enough for all.
  ///   - commits: told by each thread that is about to join, with no lock of rank `reservation`
  ///     or above held, so that it can see to a commit when much waits to be written.
  ///   - repairs: of bad copies; forbidden when the volume is aborted.
  package init(
    committed: Generation, reserver: (any MetadataReserver)?, commits: CommitRequests,
    repairs: MirrorRepairs, log: Logger
  ) {
    self.reserver = reserver
    self.commits = commits
    self.repairs = repairs
    self.log = log
    state = Guarded(
      State(running: committed.next, committed: committed), rank: .transactionGate)
  }

  // Taking part.

  /// Reserves space for changing `items` items, joins the running transaction, and runs `body`.
  ///
  /// An error of `body` before it changed a tree passes through; one after that aborts the
  /// volume, so `body` checks all it can first. Waits while a commit is in its critical section:
  /// call it with no lock of rank `reservation` or above held, and with no handle open.
  ///
  /// - Parameter useGlobalReserve: for what frees space, and so must succeed on a full volume.
  package func perform<R>(
    reserving items: Int, useGlobalReserve: Bool = false,
    _ body: (borrowing TransactionHandle) throws(FilesystemError) -> R
  ) throws(FilesystemError) -> R {
    try perform(reserving: items, for: useGlobalReserve ? .freeing : .ordinary, body)
  }

  /// The same for any purpose.
  package func perform<R>(
    reserving items: Int, for purpose: MetadataPurpose,
    _ body: (borrowing TransactionHandle) throws(FilesystemError) -> R
  ) throws(FilesystemError) -> R {
    HeldLocks.assertMayWait(below: .reservation)
    // A caller that changes no item adds nothing.
    try commits.relieveMemory(for: items > 0 ? purpose : .opportune)
    var account = HandleAccount(
      purpose: purpose,
      left: try reserver?.reserveMetadata(items: items, for: purpose) ?? .max)
    defer { reserver?.releaseMetadata(account.left) }
    return try run(&account, body)
  }

  /// As `perform`, while nobody else takes part: all handles that were open have ended, and no other
  /// is opened until `body` returns. So what any operation does under one handle has been done as a
  /// whole, or not been begun. `body` is short, and reads what it needs before it is called.
  package func performAlone<R>(
    reserving items: Int, for purpose: MetadataPurpose = .ordinary,
    _ body: (borrowing TransactionHandle) throws(FilesystemError) -> R
  ) throws(FilesystemError) -> R {
    HeldLocks.assertMayWait(below: .reservation)
    // A caller that changes no item adds nothing.
    try commits.relieveMemory(for: items > 0 ? purpose : .opportune)
    var account = HandleAccount(
      purpose: purpose,
      left: try reserver?.reserveMetadata(items: items, for: purpose) ?? .max)
    defer { reserver?.releaseMetadata(account.left) }
    return try run(&account, isAlone: true, body)
  }

  /// As `perform`, for work whose space the commit's reserve covers: what a commit does before
  /// its critical section.
  package func performUnreserved<R>(
    _ body: (borrowing TransactionHandle) throws(FilesystemError) -> R
  ) throws(FilesystemError) -> R {
    try fromCommitReserve { (account) throws(FilesystemError) in try run(&account, body) }
  }

  private func run<R>(
    _ account: inout HandleAccount, isAlone: Bool = false,
    _ body: (borrowing TransactionHandle) throws(FilesystemError) -> R
  ) throws(FilesystemError) -> R {
    HeldLocks.assertMayWait(below: .transactionGate)
    let generation = try isAlone ? joinAlone() : join()
    let result: Result<R, FilesystemError>
    do throws(FilesystemError) {
      result = .success(
        try withUnsafeMutablePointer(to: &account) { (account) throws(FilesystemError) in
          try body(
            TransactionHandle(generation: generation, isWithinCommit: false, account: account))
        })
    } catch {
      result = .failure(error)
    }

    if account.hasChanged { hasChanges.store(true, ordering: .relaxed) }
    if account.isHalfDone, case .failure(let error) = result { abort(error) }
    end(isAlone: isAlone)
    return try result.get()
  }

  private func fromCommitReserve<R>(
    _ body: (inout HandleAccount) throws(FilesystemError) -> R
  ) throws(FilesystemError) -> R {
    let opened = reserver?.openCommitReserve() ?? .max / 2
    var account = HandleAccount(purpose: .commit, left: opened)
    defer { reserver?.closeCommitReserve(opened: opened, left: account.left) }
    return try body(&account)
  }

  private func join() throws(FilesystemError) -> Generation {
    // Nearly always the gate is open: one look is enough.
    let atOnce = state.withLock { state -> Result<Generation, FilesystemError>? in
      guard !state.isClosed && !state.isForOne || state.failure != nil else {
        state.waiters += 1
        return nil
      }
      return Self.joined(&state)
    }
    if let atOnce { return try atOnce.get() }
    let joined = state.when({ !$0.isClosed && !$0.isForOne || $0.failure != nil }) { state in
      state.waiters -= 1
      return Self.joined(&state)
    }
    return try joined.get()
  }

  private static func joined(_ state: inout State) -> Result<Generation, FilesystemError> {
    if let refusal = refusal(state.failure) { return .failure(refusal) }
    state.openHandles += 1
    return .success(state.running)
  }

  /// A commit that has closed the gate goes first.
  private func joinAlone() throws(FilesystemError) -> Generation {
    state.when({ !$0.isForOne }) { $0.isForOne = true }
    let joined = state.when({ $0.openHandles == 0 && !$0.isClosed || $0.failure != nil }) { state in
      let joined = Self.joined(&state)
      if case .failure = joined { state.isForOne = false }
      return joined
    }
    if case .failure = joined { state.update { _ in } }
    return try joined.get()
  }

  private func end(isAlone: Bool = false) {
    let mustWake = state.withLock { state in
      state.openHandles -= 1
      let mustWake = state.openHandles == 0 && (state.isClosed || state.isForOne)
      if isAlone { state.isForOne = false }
      return mustWake
    }
    if mustWake { state.update { _ in } }
  }

  // The commit.

  /// Whether the running transaction has changed anything.
  package var isDirty: Bool { hasChanges.load(ordering: .relaxed) }

  /// The newest transaction that has changes: the running one, or the one before it.
  package var newestChanged: Generation {
    state.withLock { state in
      isDirty ? state.running : Generation(state.running.rawValue - 1)
    }
  }

  package var running: Generation { state.withLock { $0.running } }
  package var committed: Generation { state.withLock { $0.committed } }

  /// The transaction that is on its way to the device; nil when none is.
  var writing: Generation? {
    state.withLock { state in
      let last = Generation(state.running.rawValue - 1)
      return last > state.committed ? last : nil
    }
  }

  /// The transaction that waits for room on the device; nil when none does.
  package var heldBack: Generation? {
    state.withLock { $0.isHeldBack ? Generation($0.running.rawValue - 1) : nil }
  }

  package var failure: FilesystemError? { state.withLock { $0.failure } }

  /// What is thrown wherever something is to be changed; nil before an abort.
  package var refusal: FilesystemError? { Self.refusal(failure) }

  private static func refusal(_ failure: FilesystemError?) -> FilesystemError? {
    switch failure {
    case nil: nil
    case .shutDown: .shutDown
    default: .aborted
    }
  }

  /// Whether a commit has closed the gate: it waits for handles, or is in its critical section.
  package var isClosed: Bool { state.withLock { $0.isClosed } }

  /// How many threads wait to join.
  package var waitingToJoin: Int { state.withLock { $0.waiters } }

  /// Waits until no handle is open and lets none be opened until `body` returns; then the next
  /// transaction runs. Called by the committing thread alone.
  ///
  /// An error of `body` aborts the volume.
  func criticalSection<R>(
    _ body: (borrowing CommitContext) throws(FilesystemError) -> R
  ) throws(FilesystemError) -> R {
    let generation = try closeGate()
    do throws(FilesystemError) {
      let result = try body(CommitContext(generation: generation))
      state.update { state in
        hasChanges.store(false, ordering: .relaxed)
        reserver?.renewCommitReserve()
        state.running = state.running.next
        state.isClosed = false
      }
      return result
    } catch {
      abort(error)
      state.update { $0.isClosed = false }
      throw error
    }
  }

  private func closeGate() throws(FilesystemError) -> Generation {
    let failure = state.withLock { state in
      state.isClosed = true
      return state.failure
    }
    if let refusal = Self.refusal(failure) {
      state.update { $0.isClosed = false }
      throw refusal
    }
    let entered = state.when({ $0.openHandles == 0 }) { state -> Generation? in
      // The last handle may have ended with half a change.
      if state.failure == nil { return state.running }
      state.isClosed = false
      return nil
    }
    guard let entered else {
      state.update { _ in }
      throw refusal ?? .aborted
    }
    return entered
  }

  /// A handle for the thread that commits: it neither waits for the gate that this thread
  /// holds, nor wakes anybody, nor starts a commit. This is the no-lock path of the free space
  /// cache's write-out.
  func joinWithoutLock<R>(
    _ context: borrowing CommitContext,
    _ body: (borrowing TransactionHandle) throws(FilesystemError) -> R
  ) throws(FilesystemError) -> R {
    // The wrong way, for the test that shows where it leads.
    let isThroughGate = commitsThroughGate.load(ordering: .relaxed)
    if isThroughGate { _ = try join() }
    defer { if isThroughGate { end() } }

    let generation = context.generation
    return try fromCommitReserve { (account) throws(FilesystemError) in
      try withUnsafeMutablePointer(to: &account) { (account) throws(FilesystemError) in
        try body(TransactionHandle(generation: generation, isWithinCommit: true, account: account))
      }
    }
  }

  /// The transaction is durable.
  func didCommit(_ generation: Generation) {
    state.update { state in
      state.committed = max(state.committed, generation)
      state.isHeldBack = false
    }
  }

  /// The transaction that is being written has found no room. Says whether that is news.
  func holdBack() -> Bool {
    state.update { state in
      defer { state.isHeldBack = true }
      return !state.isHeldBack
    }
  }

  /// Waits until `generation` is durable; throws when it never will be, or nobody knows when.
  func waitUntilCommitted(_ generation: Generation) throws(FilesystemError) {
    HeldLocks.assertMayWait(below: .transactionGate)
    let outcome = state.when({
      $0.committed >= generation || $0.isHeldBack || $0.failure != nil
    }) { (isDone: $0.committed >= generation, isHeldBack: $0.isHeldBack) }
    if outcome.isDone { return }
    throw refusal ?? (outcome.isHeldBack ? .noSpace : .aborted)
  }

  /// Makes the volume read-only for good: memory and device may differ.
  package func abort(_ error: FilesystemError) {
    let isFirst = state.update { state in
      let isFirst = state.failure == nil
      if isFirst { state.failure = error }
      return isFirst
    }
    guard isFirst else { return }
    repairs.forbid()
    if case .shutDown = error { return log.notice("\(error)") }
    log.critical("\(error); the file system is read-only from now on")
  }
}

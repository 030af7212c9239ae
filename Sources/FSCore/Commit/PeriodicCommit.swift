import Logging

/// The thread that commits by itself: after a while, so that no change stays in memory for long,
/// and when the memory budget wants it.
package final class PeriodicCommit: CommitServer {
  private struct State {
    var mustStop = false
    /// The budget wants a commit.
    var isMemoryShort = false
  }

  private enum WakeReason { case stop, period, memory }

  private let committer: Committer
  private let transactions: TransactionManager
  private let files: FileStore
  private let remover: ChunkRemover
  private let memory: MemoryBudget
  private let log: Logger
  private let state = Guarded(State(), rank: .leaf)
  private let thread = Guarded<BackgroundThread?>(nil, rank: .leaf)

  package init(
    committer: Committer, transactions: TransactionManager, files: FileStore,
    remover: ChunkRemover, memory: MemoryBudget, log: Logger
  ) {
    self.committer = committer
    self.transactions = transactions
    self.files = files
    self.remover = remover
    self.memory = memory
    self.log = log
  }

  /// Starts the thread.
  ///
  /// - Parameter interval: seconds from the end of one commit to the next.
  package func start(interval: Double) {
    let started = BackgroundThread { [self] in run(interval: interval) }
    thread.withLock { $0 = started }
  }

  /// Lets the thread end after the commit that it is in.
  package func requestStop() { state.update { $0.mustStop = true } }

  /// Ends the thread, and waits for the commit that it is in.
  package func stop() {
    requestStop()
    let running = thread.withLock { thread -> BackgroundThread? in
      defer { thread = nil }
      return thread
    }
    running?.join()
  }

  private func run(interval: Double) {
    var periodEnd = SuspendingClock.now + .seconds(interval)
    var nextForMemory = SuspendingClock.now
    while true {
      switch waitForNext(before: periodEnd) {
      case .stop: return
      case .period:
        commitAll()
        periodEnd = .now + .seconds(interval)
      case .memory:
        // The last commit may have been enough. What the errors are, others find out.
        guard memory.wantsCommit, .now >= nextForMemory else { continue }
        try? committer.commit()
        // Each change asks anew, and each attempt writes much.
        if isHeldBack { nextForMemory = .now + .seconds(Self.pause) }
      }
    }
  }

  /// How long after an attempt that found no room on the device memory has to wait for the next one,
  /// in seconds.
  private static let pause = 1.0

  /// Waits until the next commit is due. Those that memory asks for do not put the others off,
  /// which write file data, too.
  private func waitForNext(before periodEnd: SuspendingClock.Instant) -> WakeReason {
    let seconds = (periodEnd - .now) / .seconds(1)
    var reason = WakeReason.period
    state.wait(atMost: max(seconds, 0)) { state in
      if state.mustStop {
        reason = .stop
      } else if state.isMemoryShort, seconds > 0 {
        reason = .memory
      }
      state.isMemoryShort = false
      return reason != .period
    }
    return reason
  }

  private func commitAll() {
    guard transactions.failure == nil else { return }
    do throws(FilesystemError) {
      try committer.requireRoom()
      // Data that are lost are the business of those who ask for them.
      files.flushAll()
      try remover.removeIdle()
      #if DEBUG
        files.checkInvariants(turn: transactions.committed.rawValue)
      #endif
      try committer.commit()
    } catch {
      // The commit that holds the transaction back says once that the disk is full.
      if case .noRoom = error { return }
      log.error("the periodic commit failed: \(error)")
    }
  }

  package func commit() throws(FilesystemError) { try committer.commit() }

  package func giveBackEmptyChunks() throws(FilesystemError) -> Bool {
    guard try remover.removeEmpty() else { return false }
    try committer.commit()
    return true
  }

  package func startWriteBack() { files.startWriteBack() }

  package var isHeldBack: Bool { transactions.heldBack != nil }

  /// Sees to a commit because of what it lets go: by the thread, so that the caller can go on; but
  /// when there is too much by now the caller waits for it.
  package func relieveMemory() {
    guard memory.wantsCommit else { return }
    guard memory.requiresCommit, !isHeldBack else {
      let isNews = state.withLock { state in
        defer { state.isMemoryShort = true }
        return !state.isMemoryShort
      }
      if isNews { state.update { _ in } }
      return
    }
    do throws(FilesystemError) {
      if let writing = transactions.writing {
        // What it holds may be enough; and what runs now is better left to grow meanwhile.
        try transactions.waitUntilCommitted(writing)
      } else {
        try committer.commit()
      }
    } catch {
      // The join that follows fails, too, or finds out whether it may go on.
    }
  }
}

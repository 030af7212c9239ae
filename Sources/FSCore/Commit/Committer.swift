/// Sees to commits: one at a time, made by a thread that needs it, for all that wait. Lock rank:
/// `commit`.
package final class Committer: Sendable {
  private let transactions: TransactionManager
  private let sequence: CommitSequence
  let turn = Guarded(CommitTurn(), rank: .commit)

  package init(transactions: TransactionManager, sequence: CommitSequence) {
    self.transactions = transactions
    self.sequence = sequence
  }

  /// Makes durable all that was changed before the call, but not what is still buffered as
  /// dirty file data. Any thread may call it, also one that holds inodes; one that began after the
  /// call serves all that wait.
  ///
  /// Errors: what the device answered, or what `TransactionManager.refusal` says. After `.noRoom`
  /// nothing is lost, and a later call may succeed.
  package func commit() throws(FilesystemError) {
    try commit(through: transactions.newestChanged)
  }

  /// Makes durable what was changed up to and including the transaction `target`. When that one
  /// is being written already this waits for no other.
  package func commit(through target: Generation) throws(FilesystemError) {
    if transactions.committed >= target { return }
    HeldLocks.assertMayWait(below: .commit)
    let (mustWait, isLast) = turn.withLock { $0.arrive(target) }
    if isLast { turn.update { _ in } }
    // A thread whose change is durable returns at once, even when another commit has begun.
    let isDone = turn.when({ !$0.isCommitting || transactions.committed >= target }) {
      turn -> Bool in
      turn.leave(target)
      if transactions.committed >= target { return true }
      turn.isCommitting = true
      return false
    }
    if isDone { return }

    defer { turn.update { $0.isCommitting = false } }
    gather(hasWaited: mustWait)
    // Twice when the transaction before was held back.
    while transactions.committed < target { try commitNext() }
  }

  private func commitNext() throws(FilesystemError) {
    let start = ContinuousClock.now
    let generation = try sequence.run()
    let duration = start.duration(to: .now)
    turn.withLock { turn in
      turn.didCommit(generation)
      turn.lastSeconds = duration / .seconds(1)
    }
    transactions.didCommit(generation)
  }

  /// Throws when a transaction is held back and there still is no room for it. A caller that would write
  /// buffered data next, and lose what finds no room, then leaves them where they are.
  package func requireRoom() throws(FilesystemError) {
    if let heldBack = transactions.heldBack { try commit(through: heldBack) }
  }

  package var statistics: CommitStatistics { sequence.statistics }

  /// What does not hold though it should; to be asked right after a commit, while nothing changes.
  package func brokenInvariants() -> [String] { sequence.brokenInvariants() }

  /// Waits until no commit is running.
  package func waitUntilIdle() { turn.when({ !$0.isCommitting }) { _ in } }

  /// Lets threads that synchronize again and again share a commit. Without that those that were
  /// just served find the next commit under way when they come back, so that half of all threads
  /// wait for the commits of the other half. A thread that is alone never waits here.
  private func gather(hasWaited: Bool) {
    guard let seconds = turn.withLock({ $0.beginGathering(hasWaited: hasWaited) }) else { return }
    turn.wait(atMost: seconds) { $0.isComplete }
    turn.withLock { $0.endGathering() }
  }
}

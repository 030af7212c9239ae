import Logging
import Synchronization

/// How what is in memory becomes the state that the device holds, step by step.
///
/// 1. On the device the last commit is whole at every moment: nothing that its superblock leads
///    to is overwritten before the next superblock is durable.
/// 2. Only this type loops over the participants, and only the thread that commits is in here.
/// 3. When a write of step 3 finds no room on the device, the transaction is held back: frozen as it
///    is, with its blocks in memory and all that it has freed still pinned. Each later call
///    first writes it, from the step on that is not done, and until that succeeds commits nothing else.
///    So whoever waits for it, or for the next one, gets the error of each attempt, and a crash
///    leaves the last commit.
/// 4. Blocks are written again only until a flush has ended after them, and the first superblock until
///    one has ended after it. A flush that fails aborts the volume, whatever it says: data and caches
///    of the transaction may be lost then, which nobody could write again.
/// 5. An error of step 1 that leaves no change half done fails this commit only: all that was
///    noted is noted still, and the next commit tries again. If that fails in step 1, too, the
///    volume is aborted, since a volume that takes changes must be able to commit them. Every
///    other error of steps 1 to 3 aborts the volume at once.
package final class CommitSequence: Sendable {
  /// More passes than this make no commit: some participant never comes to an end.
  private static let longest = 1024

  /// How often blocks are prepared for the critical section; each pass leaves fewer.
  private static let pathPasses = 3

  /// With fewer new blocks than this one pass is enough: it reads what the critical section could
  /// fail to read, and what changes after it takes less time there than looking again for it.
  private static let smallTransaction = 32

  private let transactions: TransactionManager
  private let blockCache: TreeBlockCache
  private let writer: FrozenTransactionWriter
  private let geometry: Geometry
  private let participants: [any CommitParticipant]
  /// Which of them are records of free space; to ask them at each step would take longer than many a
  /// step.
  private let areRecords: [Bool]
  /// That of the last commit.
  private let superblock: Guarded<Superblock>
  private let log: Logger
  private let figures = Guarded(CommitStatistics(), rank: .leaf)
  /// Whether the last commit failed in step 1.
  private let isUnprepared = Atomic<Bool>(false)
  /// The transaction that is held back.
  private let heldBack = Guarded<FrozenTransaction?>(nil, rank: .leaf)

  /// - Parameter participants: each stands behind those whose changes it has to follow.
  package init(
    transactions: TransactionManager, blockCache: TreeBlockCache, device: LogicalDevice,
    geometry: Geometry, superblock: Superblock, participants: [any CommitParticipant],
    log: Logger
  ) {
    self.transactions = transactions
    self.blockCache = blockCache
    writer = FrozenTransactionWriter(device: device, geometry: geometry, blockCache: blockCache)
    self.geometry = geometry
    self.participants = participants
    areRecords = participants.map { $0 is any FreeSpaceRecord }
    self.log = log
    self.superblock = Guarded(superblock, rank: .leaf)
  }

  /// How many commits there were in this mount, and how long their steps took.
  package var statistics: CommitStatistics { figures.withLock { $0 } }

  /// Commits the transaction that is held back or, when none is, the running one, and returns its
  /// number when it is durable. Called by one thread at a time.
  func run() throws(FilesystemError) -> Generation {
    if let refusal = transactions.refusal { throw refusal }
    let clock = CommitClock()
    do throws(FilesystemError) {
      let generation = try run(clock)
      figures.withLock { $0.add(clock) }
      return generation
    } catch {
      figures.withLock { $0.noteFailure() }
      throw error
    }
  }

  private func run(_ clock: CommitClock) throws(FilesystemError) -> Generation {
    let heldBack = heldBack.withLock { $0 }
    let frozen = if let heldBack { heldBack } else { try prepareAndFreeze(clock) }

    // 3. The next transaction runs; this one goes to the device.
    try write(frozen, clock)
    let generation = frozen.superblock.generation
    superblock.withLock { $0 = frozen.superblock }

    // 4. What the last commit still needed may be overwritten.
    for participant in participants { participant.didCommit(generation) }
    clock.end(.releasing)
    return generation
  }

  private func prepareAndFreeze(
    _ clock: CommitClock
  ) throws(FilesystemError) -> FrozenTransaction {
    // 1. What can be done while others still take part.
    try prepare(clock)

    // 2. Alone: the trees take their final form.
    return try transactions.criticalSection {
      (context) throws(FilesystemError) -> FrozenTransaction in
      clock.end(.waiting)
      try transactions.joinWithoutLock(context) { (handle) throws(FilesystemError) in
        try settle(in: handle, context, clock)
      }
      defer { clock.end(.settling) }
      return try freeze(context)
    }
  }

  private func prepare(_ clock: CommitClock) throws(FilesystemError) {
    do throws(FilesystemError) {
      for (index, participant) in participants.enumerated() {
        try transactions.performUnreserved { (handle) throws(FilesystemError) in
          try participant.prepare(in: handle)
        }
        clock.end(areRecords[index] ? .settingUp : .references)
      }
      let isSmall = blockCache.dirtyCount < Self.smallTransaction
      try preparePaths(passes: isSmall ? 1 : Self.pathPasses)
      isUnprepared.store(false, ordering: .relaxed)
    } catch {
      let isSecond = isUnprepared.exchange(true, ordering: .relaxed)
      guard transactions.failure == nil else { throw error }
      if isSecond {
        transactions.abort(error)
      } else {
        log.error("a commit has failed before it changed anything, the next tries again: \(error)")
      }
      throw error
    }
  }

  /// Copies what the critical section will change. Others change trees meanwhile, so there is no end
  /// that could be waited for.
  private func preparePaths(passes: Int) throws(FilesystemError) {
    for _ in 0..<passes {
      let hasChanged = try transactions.performUnreserved {
        (handle) throws(FilesystemError) -> Bool in
        var hasChanged = false
        for participant in participants {
          if try participant.preparePaths(in: handle) { hasChanged = true }
          handle.noteWhole()
        }
        return hasChanged
      }
      if !hasChanged { return }
    }
  }

  /// Asks the participants in turn until none has anything to do. One that has changed something
  /// may have made work for those before it, so they are asked again first.
  private func settle(
    in handle: borrowing TransactionHandle, _ context: borrowing CommitContext,
    _ clock: CommitClock
  ) throws(FilesystemError) {
    var rounds = [Int](repeating: 0, count: participants.count)
    var isRecord = false
    for _ in 0..<Self.longest {
      var hasChanged = false
      for (index, participant) in participants.enumerated() where !hasChanged {
        if areRecords[index] != isRecord {
          clock.end(isRecord ? .recording : .settling)
          isRecord.toggle()
        }
        rounds[index] += 1
        hasChanged = try participant.settle(in: handle, context, round: rounds[index])
        handle.noteWhole()
      }
      if !hasChanged {
        if isRecord { clock.end(.recording) }
        return
      }
    }
    throw .corrupt("the commit does not come to an end")
  }

  /// What does not hold of a transaction that is settled, or of one that has changed nothing yet.
  func brokenInvariants() -> [String] { participants.flatMap { $0.brokenInvariants() } }

  /// Takes down what is to be written. Inside the critical section, after all changes.
  private func freeze(
    _ context: borrowing CommitContext
  ) throws(FilesystemError) -> FrozenTransaction {
    var next = superblock.withLock { $0 }
    next.generation = context.generation
    if geometry.nodeSize > 4096 { next.features.insert(.bigMetadata) }
    #if DEBUG
      let broken = brokenInvariants()
      precondition(broken.isEmpty, broken.joined(separator: "\n"))
    #endif
    for participant in participants { try participant.seal(&next, context) }
    return FrozenTransaction(superblock: next, blocks: blockCache.takeDirty())
  }

  /// Brings a transaction to the device, or holds it back.
  private func write(
    _ frozen: FrozenTransaction, _ clock: CommitClock
  ) throws(FilesystemError) {
    clock.blockCount = frozen.blocks.count
    var frozen = frozen
    do throws(FilesystemError) {
      try writer.write(&frozen, clock)
    } catch {
      guard case .noRoom = error else {
        transactions.abort(error)
        throw error
      }
      heldBack.withLock { $0 = frozen }
      if transactions.holdBack() {
        log.error(
          """
          \(error); the last changes stay in memory, and are written when there is room: \
          tried again at each commit
          """)
      }
      throw error
    }
    let wasHeldBack = heldBack.withLock { heldBack -> Bool in
      defer { heldBack = nil }
      return heldBack != nil
    }
    if wasHeldBack {
      log.notice("there is room again: the changes that were held back are written")
    }
  }
}

import Logging

/// Gives back what deleted subvolumes have, on a thread of its own. A volume has one. Lock rank: `leaf`.
///
/// 1. A subvolume that is listed as deleted on disk is taken apart sooner or later, whoever has deleted
///    it: here, or at the next mount, ours or Linux's. So it may stop at any time.
/// 2. It stays whole while a file of it is open. Then nobody gets an inode of it any more, and only then
///    is anything freed.
/// 3. A step is one short transaction; a commit may come between any two.
/// 4. Where room is short a step does little, and a commit makes allocatable what it has freed.
package final class SubvolumeCleaner: Sendable {
  private struct State {
    /// To be taken apart, in the order of deletion.
    var due: [TreeID] = []
    /// Files of them are open.
    var heldUp: [TreeID] = []
    /// How often files were closed since the mount: one that is closed just when its subvolume is found
    /// to be open must not be missed.
    var closed = 0
    /// There was no room to take them apart.
    var waitingForSpace: [TreeID] = []
    /// The last commit before the first of these attempts.
    var shortSince: Generation = 0
    /// How many keep their space until the next mount.
    var failed = 0
    /// How many were added.
    var added = 0
    /// How many are being deleted, which the trees may say before they are added.
    var beingDeleted = 0
    var mustStop = false
    /// The thread may have work.
    var isRunning = false
    /// The thread waits for room.
    var isResting = false
    var thread: BackgroundThread?

    /// No subvolume is deleted and has space still.
    var isIdle: Bool { !isRunning && due.isEmpty && isNothingPutOff }
    /// What is left has to wait for something else.
    var isHeldUp: Bool { (!isRunning || isResting) && due.isEmpty && !isNothingPutOff }
    private var isNothingPutOff: Bool { heldUp.isEmpty && waitingForSpace.isEmpty && failed == 0 }

    mutating func lookForSpaceAgain() {
      due += waitingForSpace
      waitingForSpace = []
    }
  }

  private let inodes: InodeTable
  private let files: FileStore
  private let trees: Trees
  private let transactions: TransactionManager
  private let references: DelayedReferences
  private let commits: CommitRequests
  private let log: Logger
  private let state = Guarded(State(), rank: .leaf)

  /// References that a step changes, about.
  private static let stepLength = 256
  private static let shortStepLength = 48
  /// Where there is room for neither.
  private static let tightStepLength = 24
  private static let tightItems = 16

  init(
    inodes: InodeTable, files: FileStore, trees: Trees, transactions: TransactionManager,
    references: DelayedReferences, commits: CommitRequests, log: Logger
  ) {
    self.inodes = inodes
    self.files = files
    self.trees = trees
    self.transactions = transactions
    self.references = references
    self.commits = commits
    self.log = log
  }

  /// Goes on with what an earlier mount has left. Called once, before anybody uses the volume.
  func start() throws(FilesystemError) {
    let deleted = try trees.deletedSubvolumes()
    guard !deleted.isEmpty else { return }
    log.notice("\(deleted.count) deleted subvolumes have space that is given back now")
    for id in deleted { state.update { add(id, &$0) } }
  }

  /// A subvolume is to be deleted: from here on until `endDeletion` no deletion is missed by anybody
  /// that looks at the trees.
  func beginDeletion() { state.withLock { $0.beingDeleted += 1 } }

  /// The subvolume was deleted; nil if it was not. Returns at once.
  func endDeletion(of id: TreeID?) {
    state.update { state in
      state.beingDeleted -= 1
      if let id { add(id, &state) }
    }
  }

  private func add(_ id: TreeID, _ state: inout State) {
    state.lookForSpaceAgain()
    if !state.due.contains(id) { state.due.append(id) }
    state.added += 1
    run(&state)
  }

  /// A file of some deleted subvolume was closed.
  func lookAgain() {
    state.update { state in
      state.closed += 1
      state.due += state.heldUp
      state.heldUp = []
      run(&state)
    }
  }

  /// Lets the thread end after the step that it is in.
  func requestStop() { state.update { $0.mustStop = true } }

  /// Ends the thread, and waits for the step that it is in.
  package func stop() {
    let thread = state.update { state -> BackgroundThread? in
      state.mustStop = true
      defer { state.thread = nil }
      return state.thread
    }
    thread?.join()
  }

  /// Whether no subvolume is deleted and has space still.
  package var isIdle: Bool { state.withLock { $0.isIdle } }

  /// How many subvolumes have been deleted so far; nil while one is being deleted or has space still.
  var quietCount: Int? {
    state.withLock { $0.isIdle && $0.beingDeleted == 0 ? $0.added : nil }
  }

  /// Whether all that is left waits for files to be closed, for room, or for the next mount.
  var isHeldUp: Bool { state.withLock { $0.isHeldUp } }

  /// Waits until nothing is left, at most so long; says whether that is so.
  package func wait(seconds: Double) -> Bool {
    state.wait(atMost: seconds) { $0.isIdle }
  }

  // The thread.

  /// Starts the thread unless it runs. It ends by itself when there is nothing to do.
  private func run(_ state: inout State) {
    guard !state.isRunning, !state.mustStop, !state.due.isEmpty else { return }
    state.isRunning = true
    // One that has ended, or is about to.
    state.thread?.detach()
    state.thread = BackgroundThread { [self] in cleanAll() }
  }

  private func cleanAll() {
    while let (id, closed) = next() {
      // A commit during the attempt is a reason for another one.
      let committed = transactions.committed
      do throws(FilesystemError) {
        if try !clean(id) { holdUp(id, closed) }
      } catch {
        if transactions.refusal != nil { continue }
        giveUp(id, error, committed)
      }
    }
  }

  /// - Parameter closed: what `State.closed` was before the open file was found.
  private func holdUp(_ id: TreeID, _ closed: Int) {
    state.withLock { state in
      if state.closed == closed {
        state.heldUp.append(id)
      } else {
        state.due.append(id)
      }
    }
  }

  private func giveUp(_ id: TreeID, _ error: FilesystemError, _ committed: Generation) {
    guard error.errno == FilesystemError.noSpace.errno else {
      log.error("deleted subvolume \(id) keeps its space until the next mount: \(error)")
      state.withLock { $0.failed += 1 }
      return
    }
    state.withLock { state in
      if state.waitingForSpace.isEmpty { state.shortSince = committed }
      state.waitingForSpace.append(id)
    }
  }

  /// The next subvolume, and how often files were closed before. Nil ends the thread.
  private func next() -> (TreeID, closed: Int)? {
    while true {
      let isRefused = transactions.refusal != nil
      let (next, mustRest) = state.update { state -> ((TreeID, closed: Int)?, Bool) in
        guard !state.mustStop, !isRefused else {
          state.isRunning = false
          return (nil, false)
        }
        guard state.due.isEmpty else {
          return ((state.due.removeFirst(), closed: state.closed), false)
        }
        state.isResting = !state.waitingForSpace.isEmpty
        state.isRunning = state.isResting
        return (nil, state.isResting)
      }
      guard mustRest else { return next }
      rest()
    }
  }

  /// Waits until there may be room: after a commit, or another deletion. On a full volume with many
  /// commits there are no more attempts than one a second.
  private func rest() {
    state.wait(atMost: 1) { $0.mustStop || !$0.due.isEmpty }
    let committed = transactions.committed
    state.withLock { state in
      state.isResting = false
      if committed > state.shortSince { state.lookForSpaceAgain() }
    }
  }

  private var mustStop: Bool { transactions.refusal != nil || state.withLock { $0.mustStop } }

  /// False when a file of the subvolume is open.
  private func clean(_ id: TreeID) throws(FilesystemError) -> Bool {
    guard inodes.retire(id, flush: { files.flush($0) }) else { return false }
    try transactions.performAlone(reserving: 1, for: .freeing) { (handle) throws(FilesystemError) in
      try trees.detach(id, in: handle)
    }
    var dropper = try TreeDropper(id, trees: trees, references: references)
    while !dropper.isDone, !mustStop { try step(&dropper) }
    return true
  }

  /// As many references as a step changes are counted on top of what is reserved for its items: one
  /// for each block of these.
  private func step(_ dropper: inout TreeDropper) throws(FilesystemError) {
    for length in [Self.stepLength, Self.shortStepLength] {
      do throws(FilesystemError) {
        return try step(&dropper, atMost: length, items: 2 + length, for: .opportune)
      } catch .noSpace {
        continue
      } catch {
        throw error
      }
    }
    try step(&dropper, atMost: Self.tightStepLength, items: Self.tightItems, for: .freeing)
    try commits.commit()
  }

  private func step(
    _ dropper: inout TreeDropper, atMost limit: Int, items: Int, for purpose: MetadataPurpose
  ) throws(FilesystemError) {
    try transactions.perform(reserving: items, for: purpose) { (handle) throws(FilesystemError) in
      try dropper.step(atMost: limit, in: handle)
    }
  }
}

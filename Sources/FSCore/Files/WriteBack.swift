/// Decides when buffered bytes go to the device: in passes over a file, made by the workers.
///
/// 1. All of a file's bytes that were buffered before a flush are on the device by the time it
///    returns, or their loss is recorded.
/// 2. A file has one pass at a time, and that one batch: a later one cannot overtake it. Many files
///    are written back in parallel.
/// 3. A pass takes the inode's `content`, which ranks below the transaction gate. So nobody waits
///    for write-back, for room in the budget or for a commit while holding it. Holding an inode's
///    `lock` while waiting is fine: a pass does not take that.
final class WriteBack: Sendable {
  /// What guards the passes of some inodes.
  private struct Stripe {
    /// Of all its inodes.
    var endedPasses: UInt64 = 0
  }

  private let workers: WorkerPool
  private let buffer: WriteBuffer
  private let inline: InlineWriter
  private let orderedWrite: OrderedWrite
  private let stripes: [Guarded<Stripe>]

  init(
    workers: WorkerPool, buffer: WriteBuffer, inline: InlineWriter, orderedWrite: OrderedWrite
  ) {
    self.workers = workers
    self.buffer = buffer
    self.inline = inline
    self.orderedWrite = orderedWrite
    stripes = (0..<64).map { _ in Guarded(Stripe(), rank: .fileBuffer) }
  }

  /// What guards `passes` of this inode's buffers. Shared by many inodes, as few have any.
  private func stripe(of inode: Inode) -> Guarded<Stripe> {
    stripes[Int(truncatingIfNeeded: inode.number.rawValue % UInt64(stripes.count))]
  }

  /// Sees to it that what is buffered now is written back. Returns the number of the pass after
  /// which it is. May be called with any lock below `fileBuffer`.
  @discardableResult
  func start(of inode: Inode) -> UInt64 {
    let (pass, mustRun) = claimPass(of: inode)
    if mustRun { submitPass(of: inode) }
    return pass
  }

  /// The number of the pass that writes back what is buffered now, and whether the caller has
  /// to see to its being run.
  private func claimPass(of inode: Inode) -> (pass: UInt64, mustRun: Bool) {
    stripe(of: inode).withLock { _ in
      if inode.file.passes.isRunning {
        inode.file.passes.isAnotherWanted = true
        return (inode.file.passes.started + 1, false)
      }
      inode.file.passes.started += 1
      return (inode.file.passes.started, true)
    }
  }

  private func submitPass(of inode: Inode) { workers.submit { [self] in runPass(of: inode) } }

  /// Waits for the end of a pass. Held are locks below `fileContent` at the most.
  func wait(for inode: Inode, pass: UInt64) {
    HeldLocks.assertMayWait(below: .fileContent)
    stripe(of: inode).when({ _ in inode.file.passes.ended >= pass }) { _ in }
  }

  /// Writes back what is buffered of one file, and waits for it. Errors are kept in
  /// `WriteFailures`. Held are locks below `fileContent` at the most.
  func flush(_ inode: Inode) {
    guard inode.file.bufferedBytes > 0 else { return }
    let (pass, mustRun) = claimPass(of: inode)
    // A thread that would only wait for a worker runs the pass itself and saves two changes of
    // threads, which is felt by an fsync(2) of a few sectors.
    if mustRun { runPass(of: inode) }
    wait(for: inode, pass: pass)
  }

  /// Writes back all that is buffered at the time of the call: all files at once, then waits
  /// for each. Errors are kept in `WriteFailures`. Returns the files that had one meanwhile.
  @discardableResult
  func flushAll(of isWanted: (InodeID) -> Bool = { _ in true }) -> [Inode] {
    let passes = buffer.dirtyFiles.all.filter { isWanted($0.id) }.map { inode in
      (inode, failures: inode.file.failures, pass: start(of: inode))
    }
    var failed: [Inode] = []
    for (inode, failures, pass) in passes {
      wait(for: inode, pass: pass)
      if inode.file.failures > failures { failed.append(inode) }
    }
    return failed
  }

  private func runPass(of inode: Inode) {
    // What is buffered later is the next pass's: else this one need never end.
    var indexes = inode.content.shared { inode.file.dirty.keys.sorted(by: >) }
    while let batch = nextBatch(of: inode, &indexes) {
      orderedWrite.run(batch)
      stripe(of: inode).update { _ in inode.file.passes.batches += 1 }
    }

    let goesOn = stripe(of: inode).update { stripe -> Bool in
      stripe.endedPasses += 1
      inode.file.passes.ended = inode.file.passes.started
      guard inode.file.passes.isAnotherWanted else { return false }
      inode.file.passes.isAnotherWanted = false
      inode.file.passes.started += 1
      return true
    }
    // At the end of the line, so that other files get their turn.
    if goesOn { submitPass(of: inode) }
  }

  private func nextBatch(of inode: Inode, _ indexes: inout [UInt64]) -> WriteBatch? {
    inode.content.exclusive {
      if indexes.last == 0, inline.write(inode) { indexes.removeLast() }
      return buffer.takeBatch(of: inode, &indexes)
    }
  }

  /// Waits until nothing beyond `cut` is on its way to the device. The inode's `lock` is held
  /// exclusively, so nothing new is buffered.
  func waitForBatches(of inode: Inode, beyond cut: UInt64) {
    while true {
      let seen = stripe(of: inode).withLock { _ in inode.file.passes.batches }
      guard inode.content.shared({ inode.file.isWriting(from: cut) }) else { return }
      stripe(of: inode).when({ _ in inode.file.passes.batches != seen }) { _ in }
    }
  }
}

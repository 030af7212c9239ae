import Logging

/// Write-back: passes over the buffered bytes of a file, made by the workers.
extension FileStore {
  /// Sees to it that what is buffered now is written back. Returns the number of the pass after
  /// which it is. May be called with any lock below `fileBuffer`.
  @discardableResult
  func startWriteBack(of inode: Inode) -> UInt64 {
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
  func waitForWriteBack(of inode: Inode, pass: UInt64) {
    HeldLocks.assertMayWait(below: .fileContent)
    stripe(of: inode).when({ _ in inode.file.passes.ended >= pass }) { _ in }
  }

  /// Writes back what is buffered of one file, and waits for it. Errors are kept for
  /// `throwFailure`. Held are locks below `fileContent` at the most.
  func flush(_ inode: Inode) {
    guard inode.file.bufferedBytes > 0 else { return }
    let (pass, mustRun) = claimPass(of: inode)
    // Who would only wait for a worker saves two changes of threads, which an fsync(2) of a few
    // sectors feels.
    if mustRun { runPass(of: inode) }
    waitForWriteBack(of: inode, pass: pass)
  }

  /// Writes back all that is buffered at the time of the call: all files at once, then waits
  /// for each. Errors are kept for `reportFailure` and `reportLostData`.
  package func flushAll() {
    let passes = dirtyFiles.all.map { ($0, startWriteBack(of: $0)) }
    for (inode, pass) in passes { waitForWriteBack(of: inode, pass: pass) }
  }

  /// Throws the error of an earlier write-back that `reader` has not been told of; without a
  /// reader, one that nobody has been told of.
  ///
  /// - Parameter isReport: from now on both have been told of it.
  func throwFailure(
    of inode: Inode, to reader: FailureReader?, isReport: Bool
  ) throws(FilesystemError) {
    let buffers = inode.file
    let failures = buffers.failures
    guard failures > reader?.known ?? buffers.failuresReported else { return }
    if isReport {
      reader?.note(failures)
      buffers.noteReport(of: failures)
    }
    if let failure = stripe(of: inode).withLock({ _ in buffers.passes.failure }) { throw failure }
  }

  /// Throws the first error of a write-back since the last call: for who synchronizes the whole
  /// volume, and has no file to ask about.
  package func reportLostData() throws(FilesystemError) {
    let error = lostData.withLock { lost in
      defer { lost = nil }
      return lost
    }
    if let error { throw error }
  }

  /// - Parameter range: where in the file, in bytes; nil when it is not known.
  func recordFailure(_ error: FilesystemError, of inode: Inode, in range: Range<UInt64>? = nil) {
    let place = range.map { " at \($0.lowerBound), \($0.upperBound - $0.lowerBound) bytes" } ?? ""
    log.error("file \(inode.id): buffered data are lost\(place): \(error)")
    lostData.withLock { if $0 == nil { $0 = error } }
    stripe(of: inode).withLock { _ in
      inode.file.passes.failure = error
      inode.file.noteFailure()
    }
  }

  private func runPass(of inode: Inode) {
    // What is buffered later is the next pass's: else this one need never end.
    var indexes = inode.content.shared { inode.file.dirty.keys.sorted(by: >) }
    while let write = nextBatch(of: inode, &indexes) {
      self.write(write)
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

  /// Takes the next cells off `indexes`, which is descending, and moves them to `writing`.
  private func nextBatch(of inode: Inode, _ indexes: inout [UInt64]) -> OrderedWrite? {
    inode.content.exclusive {
      let buffers = inode.file
      if indexes.last == 0, writeInline(inode) { indexes.removeLast() }

      var cells: [BufferCell] = []
      var bytes = 0
      while bytes < OrderedWrite.longestBatch, let index = indexes.popLast() {
        guard let cell = buffers.dirty.removeValue(forKey: index) else { continue }
        buffers.writing[index] = cell
        cells.append(cell)
        bytes += cell.byteCount
      }
      buffers.writingBytes += bytes
      return cells.isEmpty ? nil : OrderedWrite(inode: inode, cells: cells)
    }
  }
}

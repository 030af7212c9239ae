import FSCore

/// Makes a file system longer or shorter on a thread of its own, one at a time. Lock rank: `leaf`.
final class ResizeJob: Sendable {
  private struct State {
    var report = ResizeReport()
    var thread: BackgroundThread?
  }

  private let state = Guarded(State(), rank: .leaf)

  func report(of volume: Volume) -> ResizeReport {
    var report = state.withLock { $0.report }
    report.size = volume.sizeBytes
    return report
  }

  /// Begins, unless one is running.
  func start(_ volume: Volume, to bytes: UInt64) throws(ControlFailure) -> ResizeReport {
    let old = volume.sizeBytes
    let (isMine, last) = state.withLock { state -> (Bool, BackgroundThread?) in
      if state.report.isRunning { return (false, nil) }
      state.report = ResizeReport(isRunning: true, from: old, to: bytes)
      defer { state.thread = nil }
      return (true, state.thread)
    }
    guard isMine else { throw ControlFailure("a resize is running", "EBUSY") }
    last?.join()
    let thread = BackgroundThread { [self] in
      var failure: ControlFailure?
      do throws(FilesystemError) {
        try volume.resize(to: bytes)
      } catch {
        failure = ControlFailure(error)
      }
      state.update { [failure] state in
        state.report.isRunning = false
        state.report.error = failure?.description
        state.report.errno = failure?.errno
      }
    }
    state.withLock { $0.thread = thread }
    return report(of: volume)
  }

  /// Waits for one that is running. None is started any more.
  func finish() {
    let thread = state.withLock { state -> BackgroundThread? in
      defer { state.thread = nil }
      return state.thread
    }
    thread?.join()
  }
}

import Logging

/// What write-back has lost, and which callers were told of it. Lock rank: `leaf`.
///
/// 1. The file keeps the error, and each open of it learns of it through a `FailureReader`.
/// 2. The first error since the last synchronization of the whole volume is kept for the next.
final class WriteFailures: Sendable {
  private let log: Logger
  /// The first error that no synchronization of the volume has reported. The lock guards the
  /// errors that files keep, too.
  private let lost = Guarded<FilesystemError?>(nil, rank: .leaf)

  init(log: Logger) { self.log = log }

  /// Throws the error of an earlier write-back that `reader` has not been told of; without a
  /// reader, one that nobody has been told of.
  ///
  /// - Parameter isReport: from now on both have been told of it.
  func check(
    _ inode: Inode, for reader: FailureReader?, isReport: Bool
  ) throws(FilesystemError) {
    let buffers = inode.file
    let failures = buffers.failures
    guard failures > reader?.known ?? buffers.failuresReported else { return }
    if isReport {
      reader?.note(failures)
      buffers.noteReport(of: failures)
    }
    if let failure = lost.withLock({ _ in buffers.failure }) { throw failure }
  }

  /// The last error of a file, whoever was told of it; nobody counts as told of it by this.
  func last(of inode: Inode) -> FilesystemError? { lost.withLock { _ in inode.file.failure } }

  /// Throws the first error of a write-back since the last call: for a caller that synchronizes the
  /// whole volume and has no file to ask about.
  func reportLoss() throws(FilesystemError) {
    let error = lost.withLock { lost in
      defer { lost = nil }
      return lost
    }
    if let error { throw error }
  }

  /// - Parameter range: where in the file, in bytes; nil when it is not known.
  func record(_ error: FilesystemError, of inode: Inode, in range: Range<UInt64>? = nil) {
    let place = range.map { " at \($0.lowerBound), \($0.upperBound - $0.lowerBound) bytes" } ?? ""
    log.error("file \(inode.id): buffered data are lost\(place): \(error)")
    lost.withLock { lost in
      if lost == nil { lost = error }
      inode.file.failure = error
      inode.file.noteFailure()
    }
  }
}

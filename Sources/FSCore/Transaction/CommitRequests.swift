/// Makes commits. Met by the layer that knows how.
package protocol CommitServer: AnyObject, Sendable {
  /// Commits the running transaction and returns when it is durable.
  func commit() throws(FilesystemError)

  /// Gives empty chunks back, and commits, where there are any. Says whether that was so.
  func giveBackEmptyChunks() throws(FilesystemError) -> Bool

  /// Begins to write back all that is buffered, without waiting for it. May be called with locks up
  /// to rank `fileContent` held.
  func startWriteBack()

  /// Sees to a commit because of the memory that it lets go. Waits for it only when too much is
  /// used. Errors of that commit show in what follows.
  func relieveMemory()

  /// Whether a transaction waits for room on the device, so that a commit is likely to fail.
  var isHeldBack: Bool { get }
}

/// How the layers below the commit ask for one: when space or memory runs short.
package final class CommitRequests: Sendable {
  private let memory: MemoryBudget?

  /// Bound once, late: a commit needs all that may ask for one. Nil before, and where nothing is
  /// ever committed.
  nonisolated(unsafe) package weak var server: (any CommitServer)?

  package init(memory: MemoryBudget? = nil) { self.memory = memory }

  /// Whether a commit may make space allocatable.
  package var canCommit: Bool { server.map { !$0.isHeldBack } ?? false }

  package func commit() throws(FilesystemError) { try server?.commit() }

  /// Gives empty chunks back, with a commit. False when there are none, or a commit cannot succeed.
  package func giveBackEmptyChunks() throws(FilesystemError) -> Bool {
    do throws(FilesystemError) {
      return try server?.giveBackEmptyChunks() ?? false
    } catch {
      guard case .noRoom = error else { throw error }
      return false
    }
  }

  /// Commits for what that makes allocatable, where a commit can succeed. One that finds no room on the
  /// device has made nothing allocatable, which is no error here.
  package func commitIfPossible() throws(FilesystemError) {
    guard canCommit else { return }
    do throws(FilesystemError) {
      try server?.commit()
    } catch {
      guard case .noRoom = error else { throw error }
    }
  }

  package func startWriteBack() { server?.startWriteBack() }

  /// Sees to a commit where memory wants one. Throws `.noSpace` where no commit can bring any and too
  /// much is used, unless the data of `purpose` were accepted before.
  package func relieveMemory(for purpose: MetadataPurpose) throws(FilesystemError) {
    guard let memory, memory.wantsCommit, let server else { return }
    server.relieveMemory()
    switch purpose {
    case .ordinary, .freeing: try requireMemory()
    case .opportune, .acceptedData, .commit: break
    }
  }

  /// Throws `.noSpace` when too much memory waits for a commit, and none can succeed now: for what
  /// accepts data.
  package func requireMemory() throws(FilesystemError) {
    if let memory, memory.requiresCommit, server?.isHeldBack == true { throw .noSpace }
  }
}

/// Makes commits. Met by the layer that knows how.
package protocol CommitServer: AnyObject, Sendable {
  /// Commits the running transaction and returns when it is durable.
  func commit() throws(FilesystemError)

  /// The same where space runs short: gives empty chunks back as well.
  func commitForSpace() throws(FilesystemError)

  /// Begins to write back all that is buffered, without waiting for it. May be called with locks up
  /// to rank `fileContent` held.
  func startWriteBack()

  /// Sees to a commit because of the memory that it lets go. Waits for it only when too much is
  /// used. Errors of that commit show in what follows.
  func relieveMemory()
}

/// How the layers below the commit ask for one: when space or memory runs short.
package final class CommitRequests: Sendable {
  private let memory: MemoryBudget?

  /// Bound once, late: a commit needs all that may ask for one. Nil before, and where nothing is
  /// ever committed.
  nonisolated(unsafe) package weak var server: (any CommitServer)?

  package init(memory: MemoryBudget? = nil) { self.memory = memory }

  package var canCommit: Bool { server != nil }

  package func commit() throws(FilesystemError) { try server?.commit() }

  package func commitForSpace() throws(FilesystemError) { try server?.commitForSpace() }

  package func startWriteBack() { server?.startWriteBack() }

  package func relieveMemory() {
    if let memory, memory.wantsCommit { server?.relieveMemory() }
  }
}

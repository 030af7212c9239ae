/// Shutting down: it leaves the image alone at once, with the mount in use.
extension Volume {
  /// Makes durable what was changed before the call, then refuses all operations with `.shutDown`;
  /// the image stays as it is. What is left to do is to unmount. The second call does nothing.
  ///
  /// Throws what the commit threw; the volume is shut down all the same.
  package func shutDown() throws(FilesystemError) {
    let outcome: Result<Void, FilesystemError>
    do throws(FilesystemError) {
      if transactions.failure == nil { try synchronizeAll() }
      outcome = .success(())
    } catch {
      outcome = .failure(error)
    }

    inodes.shutDown()
    transactions.abort(.shutDown)
    // What had begun ends as ever, so that nothing is written after this call: a commit, and
    // data on their way. What is still buffered goes.
    committer.waitUntilIdle()
    files.flushAll()
    try outcome.get()
  }
}

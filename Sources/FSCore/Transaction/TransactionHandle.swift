/// The right to change trees, as part of the running transaction. While it is open the
/// transaction cannot be committed.
///
/// It exists only as the argument of the closure that `TransactionManager.perform` or
/// `withHandleInCommit` runs, so it cannot be forgotten, kept, or ended twice.
package struct TransactionHandle: ~Copyable {
  /// The transaction to which the changes belong.
  package let generation: Generation

  /// Whether the commit itself holds this handle: it was made without the gate's lock.
  package let isWithinCommit: Bool

  /// Where the one who opened the handle reads whether a tree was changed through it.
  private let changed: UnsafeMutablePointer<Bool>

  init(generation: Generation, isWithinCommit: Bool, changed: UnsafeMutablePointer<Bool>) {
    self.generation = generation
    self.isWithinCommit = isWithinCommit
    self.changed = changed
  }

  /// Says that a tree is about to change. From here on an error that leaves the closure aborts
  /// the volume, because memory may hold half a change.
  @inline(__always)
  package func noteChange() { changed.pointee = true }
}

/// What only the committing thread has, and only inside the critical section of a commit.
/// Code that is legal nowhere else takes it as an argument.
package struct CommitContext: ~Copyable {
  /// The transaction that is being committed.
  package let generation: Generation

  init(generation: Generation) { self.generation = generation }
}

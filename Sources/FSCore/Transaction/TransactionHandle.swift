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

  /// What was done through a handle, for the one who opened it.
  struct Changes {
    /// Some tree was changed.
    var hasChanged = false
    /// A change was begun, and nobody has said that it is whole.
    var isHalfDone = false
  }

  private let changes: UnsafeMutablePointer<Changes>

  init(generation: Generation, isWithinCommit: Bool, changes: UnsafeMutablePointer<Changes>) {
    self.generation = generation
    self.isWithinCommit = isWithinCommit
    self.changes = changes
  }

  /// Says that a tree is about to change. From here on an error that leaves the closure aborts
  /// the volume, because memory may hold half a change.
  @inline(__always)
  package func noteChange() {
    changes.pointee = Changes(hasChanged: true, isHalfDone: true)
  }

  /// Says that what was changed so far is whole: an error that comes before the next change leaves
  /// nothing half done, and passes. Only for code that knows all that its handle was used for: the
  /// participants of a commit, between one step and the next.
  package func noteWhole() { changes.pointee.isHalfDone = false }

  /// Whether an error now would have to abort the volume.
  package var isHalfDone: Bool { changes.pointee.isHalfDone }
}

/// What only the committing thread has, and only inside the critical section of a commit.
/// Code that is legal nowhere else takes it as an argument.
package struct CommitContext: ~Copyable {
  /// The transaction that is being committed.
  package let generation: Generation

  init(generation: Generation) { self.generation = generation }
}

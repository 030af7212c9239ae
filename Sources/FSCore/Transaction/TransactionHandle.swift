/// The right to change trees, as part of the running transaction. While it is open the
/// transaction cannot be committed.
///
/// It exists only as the argument of the closure that `TransactionManager.perform` or
/// `joinWithoutLock` runs, so it cannot be forgotten, kept, or ended twice. It carries what was
/// reserved for it: each tree block that is allocated through it is debited (`debit`).
package struct TransactionHandle: ~Copyable {
  /// The transaction to which the changes belong.
  package let generation: Generation

  /// Whether the commit itself holds this handle: it was made without the gate's lock.
  package let isWithinCommit: Bool

  /// What the thread that opened the handle keeps of it, on its stack.
  private let account: UnsafeMutablePointer<HandleAccount>

  init(
    generation: Generation, isWithinCommit: Bool, account: UnsafeMutablePointer<HandleAccount>
  ) {
    self.generation = generation
    self.isWithinCommit = isWithinCommit
    self.account = account
  }

  /// Says that a tree is about to change. From here on an error that leaves the closure aborts
  /// the volume, because memory may hold half a change.
  @inline(__always)
  package func noteChange() {
    account.pointee.hasChanged = true
    account.pointee.isHalfDone = true
  }

  /// Says that what was changed so far is whole: an error that comes before the next change leaves
  /// nothing half done, and passes. Only for code that knows all that its handle was used for: the
  /// participants of a commit, between one step and the next.
  package func noteWhole() { account.pointee.isHalfDone = false }

  /// Whether an error now would have to abort the volume.
  package var isHalfDone: Bool { account.pointee.isHalfDone }

  /// For what the handle's space was reserved.
  package var purpose: MetadataPurpose { account.pointee.purpose }

  /// Takes `bytes` from what is reserved. False, with nothing taken, when less than that is
  /// left: the change takes more than was reserved for it.
  @inline(__always)
  package func debit(_ bytes: UInt64) -> Bool {
    guard account.pointee.left >= bytes else { return false }
    account.pointee.left -= bytes
    return true
  }

  /// Gives a handle of the commit what was kept back for a reference that it is about to apply.
  /// Other handles live on what was reserved for them.
  @inline(__always)
  package func credit(_ bytes: UInt64) {
    if account.pointee.purpose == .commit { account.pointee.left += bytes }
  }
}

/// What becomes of a handle's reservation, and whether a tree was changed through the handle.
struct HandleAccount {
  let purpose: MetadataPurpose
  /// What is left of the reservation, in bytes.
  var left: UInt64
  /// Some tree was changed.
  var hasChanged = false
  /// A change was begun, and nobody has said that it is whole.
  var isHalfDone = false
}

/// What only the committing thread has, and only inside the critical section of a commit.
/// Code that is legal nowhere else takes it as an argument.
package struct CommitContext: ~Copyable {
  /// The transaction that is being committed.
  package let generation: Generation

  init(generation: Generation) { self.generation = generation }
}

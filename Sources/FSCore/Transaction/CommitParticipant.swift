/// Something whose form in the trees must be final before a commit: chunk items, references of
/// extents, block group items, root items, the record of free space. `CommitSequence` has a list of
/// them, and is the only one that loops.
///
/// 1. A participant changes trees through the handle that it is given, and joins nothing.
/// 2. `settle` returns true whenever it has changed a tree or allocated anything. The sequence then
///    begins again with the first participant. So whoever is asked to settle finds that all before
///    it in the list have nothing left to do.
/// 3. A participant comes to an end by itself: after some rounds it changes only blocks that the
///    running transaction has made, which allocates nothing.
/// 4. After an error of `prepare` or `preparePaths` that leaves the handle not half done, everything that was to be
///    done is still to be done, and the next commit tries again. Any other error of any step aborts
///    the volume. What may fail without that (a cache) is seen to by the participant itself.
/// 5. A participant that has done one thing of several calls `noteWhole`.
package protocol CommitParticipant: Sendable {
  /// Does what can be done while others still change trees, so that the critical section is short.
  /// The handle is one of the running transaction; no lock is held.
  func prepare(in handle: borrowing TransactionHandle) throws(FilesystemError)

  /// Makes the blocks that `settle` will change the running transaction's own, as far as is known
  /// now: a read that fails in the critical section aborts the volume, and here it does not. Says
  /// whether that changed or copied anything; the sequence then asks all again, a few times.
  func preparePaths(
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool

  /// Inside the critical section. Brings the trees up to date; says whether that changed anything.
  ///
  /// - Parameter round: how often this participant has been asked in this commit, from 1 on.
  func settle(
    in handle: borrowing TransactionHandle, _ context: borrowing CommitContext, round: Int
  ) throws(FilesystemError) -> Bool

  /// Inside the critical section, once nobody has anything to settle any more: sets what the
  /// superblock says of this. Participants are asked in the order of the list.
  func seal(
    _ superblock: inout Superblock, _ context: borrowing CommitContext
  ) throws(FilesystemError)

  /// The commit of `generation` is durable, and the next transaction runs.
  func didCommit(_ generation: Generation)

  /// What does not hold though it should, once all is settled; nothing when all is well. Asked
  /// before `seal` in debug builds, and by tests after a commit.
  func brokenInvariants() -> [String]
}

extension CommitParticipant {
  package func prepare(in handle: borrowing TransactionHandle) throws(FilesystemError) {}

  package func preparePaths(
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool { false }

  package func seal(
    _ superblock: inout Superblock, _ context: borrowing CommitContext
  ) throws(FilesystemError) {}

  package func didCommit(_ generation: Generation) {}

  package func brokenInvariants() -> [String] { [] }
}

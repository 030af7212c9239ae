/// Durability: what sync(2) and fsync(2) ask for. How a commit goes is `CommitSequence`'s business.
extension Volume {
  /// Makes durable all that was changed before the call, but not what is still buffered as
  /// dirty file data: that is `synchronizeAll`'s business. See `Committer.commit`.
  package func commit() throws(FilesystemError) {
    guard readOnlyReason == nil else { return }
    #if DEBUG
      files.checkInvariants(turn: commitCount)
      let broken = inodes.brokenInvariants(turn: commitCount)
      precondition(broken.isEmpty, broken.joined(separator: "\n"))
    #endif
    try committer.commit()
  }

  /// How many commits there have been in all of the volume's life.
  package var commitCount: UInt64 { transactions.committed.rawValue }

  /// What does not hold though it should; to be asked right after a commit, while nothing changes.
  package func brokenInvariants() -> [String] {
    space.groups.brokenInvariantsWhenQuiet(buffered: files.reservedForBuffered)
      + inodes.brokenInvariantsWhenQuiet()
      + committer.brokenInvariants()
  }

  /// Writes all buffered file data, then commits: what sync(2) does elsewhere. Throws the
  /// error of a write-back that lost data too, once, after the commit.
  package func synchronizeAll() throws(FilesystemError) {
    guard readOnlyReason == nil else { return }
    try committer.requireRoom()
    files.flushAll()
    try commit()
    try files.reportLostData()
  }
}

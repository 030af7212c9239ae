/// The commits that a reservation asks for when space is short, one at a time: after each it is tried
/// again, so that none is made that is not needed.
///
/// A commit makes what was freed allocatable, and groups empty. Where that is not much, empty chunks are given
/// back at once, or the next reservation would soon ask for a commit again. That takes a commit as well;
/// another one may have to move what the record of free space has in them, and one makes their removal
/// durable. Only when all that is done a commit begins it anew.
struct CommitRelief {
  private static let mostRemovals = 3

  private let mostCommits: Int
  private(set) var commitCount = 0
  private var removalsLeft = 0

  init(mostCommits: Int) { self.mostCommits = mostCommits }

  /// The next step. False when there is none.
  ///
  /// - Parameters:
  ///   - commitMayHelp: whether something would become allocatable by a commit.
  ///   - isPlenty: whether what is asked for, and much more, is there.
  mutating func step(
    _ commits: CommitRequests, commitMayHelp: @autoclosure () -> Bool,
    isPlenty: @autoclosure () -> Bool
  ) throws(FilesystemError) -> Bool {
    guard commits.canCommit else { return false }
    while removalsLeft > 0 {
      removalsLeft -= 1
      if try commits.giveBackEmptyChunks() { return true }
    }
    guard commitCount < mostCommits, commitMayHelp() else { return false }
    commitCount += 1
    removalsLeft = Self.mostRemovals
    try commits.commitIfPossible()
    if !isPlenty() {
      removalsLeft -= 1
      _ = try commits.giveBackEmptyChunks()
    }
    return true
  }
}

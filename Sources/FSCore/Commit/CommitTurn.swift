/// Which thread commits, and which wait for it: the state of `Committer`.
struct CommitTurn {
  var isCommitting = false
  /// How many threads wait for the commit of which transaction. None is durable.
  private var waitingFor: [Generation: Int] = [:]
  /// How many threads the last commit served.
  private var lastServed = 1
  /// How long it took.
  var lastSeconds = 0.0
  /// How many waiting threads the one whose turn it is hopes for; nil when it does not wait.
  private var wanted: Int?

  /// How many threads wait for a commit that serves them.
  var waiting: Int { waitingFor.values.reduce(0, +) }

  /// Whether as many wait as were hoped for.
  var isComplete: Bool { wanted.map { waiting >= $0 } ?? true }

  /// A thread begins to wait for the commit of `target`. Says whether another commit is running,
  /// and whether it is the last of those that were hoped for.
  mutating func arrive(_ target: Generation) -> (mustWait: Bool, isLast: Bool) {
    waitingFor[target, default: 0] += 1
    return (isCommitting, wanted != nil && isComplete)
  }

  /// A thread no longer waits.
  mutating func leave(_ target: Generation) {
    guard let count = waitingFor[target] else { return }
    waitingFor[target] = count > 1 ? count - 1 : nil
  }

  /// A commit is durable, but nobody knows yet.
  mutating func didCommit(_ generation: Generation) {
    let served = waitingFor.filter { $0.key <= generation }
    for target in served.keys { waitingFor[target] = nil }
    lastServed = served.values.reduce(1, +)
  }

  mutating func endGathering() { wanted = nil }

  /// How long to wait for others, in seconds; nil when none are to be expected.
  ///
  /// - Parameter hasWaited: the thread came while another commit was running.
  mutating func beginGathering(hasWaited: Bool) -> Double? {
    // Those whom the last commit served are likely to come back. If this thread is not one of
    // them, it and the others that wait come on top.
    let expected = hasWaited ? waiting + lastServed : lastServed - 1
    let seconds = min(lastSeconds * Self.share, Self.longest)
    guard waiting < expected, seconds >= Self.shortest else { return nil }
    wanted = expected
    return seconds
  }

  /// What part of a commit's time is spent on waiting for others at most.
  private static let share = 0.25
  private static let longest = 0.002
  /// A shorter wait costs more than the commit that it saves.
  private static let shortest = 0.0001
}

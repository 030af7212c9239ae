/// What the time of a commit is spent on, in the order of its steps.
package enum CommitStep: String, CaseIterable, Codable, Sendable {
  // Before the critical section.

  /// New chunks get their items, and references are applied to the extent tree.
  case references
  /// The record of free space is prepared: caches are set up.
  case settingUp
  /// The last open handles are waited for.
  case waiting

  // The critical section.

  /// Chunk items, references, block group items and root items, and what the superblock says.
  case settling
  /// The record of free space: caches are written.
  case recording

  // While the next transaction runs.

  case blocks
  case flushes
  case superblocks
  /// What was freed becomes allocatable.
  case releasing

  package var isCritical: Bool { self == .settling || self == .recording }
}

/// How long one commit's steps take: what passes between two calls of `end` is the step's that has
/// ended then. Belongs to the thread that commits.
final class CommitClock {
  private let start = ContinuousClock.now
  private var last: ContinuousClock.Instant
  private(set) var times = [UInt64](repeating: 0, count: CommitStep.allCases.count)
  /// Tree blocks that are written.
  var blockCount = 0

  init() { last = start }

  func end(_ step: CommitStep) {
    let now = ContinuousClock.now
    times[step.index] &+= (now - last).nanoseconds
    last = now
  }

  var whole: UInt64 { (last - start).nanoseconds }
}

extension CommitStep {
  /// Its place in `allCases`, which makes an array at each look.
  fileprivate var index: Int {
    switch self {
    case .references: 0
    case .settingUp: 1
    case .waiting: 2
    case .settling: 3
    case .recording: 4
    case .blocks: 5
    case .flushes: 6
    case .superblocks: 7
    case .releasing: 8
    }
  }
}

/// The commits of one mount.
package struct CommitStatistics: Codable, Equatable, Sendable {
  package struct Step: Codable, Equatable, Sendable {
    package var step: CommitStep
    package var time: DurationFigures
  }

  /// Commits that are durable.
  package var whole = DurationFigures()
  package var failed: UInt64 = 0
  /// How long others were kept from changing anything.
  package var critical = DurationFigures()
  package var steps = CommitStep.allCases.map { Step(step: $0, time: DurationFigures()) }
  /// Tree blocks that were written, and how many of them by the last commit.
  package var blocks: UInt64 = 0
  package var lastBlocks: UInt64 = 0

  package init() {}

  mutating func add(_ clock: CommitClock) {
    whole.add(clock.whole)
    var critical: UInt64 = 0
    for index in steps.indices {
      steps[index].time.add(clock.times[steps[index].step.index])
      if steps[index].step.isCritical { critical &+= clock.times[steps[index].step.index] }
    }
    self.critical.add(critical)
    lastBlocks = UInt64(clock.blockCount)
    blocks &+= lastBlocks
  }

  mutating func noteFailure() { failed &+= 1 }
}

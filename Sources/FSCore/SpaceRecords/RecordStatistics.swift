/// What a mount's commits have done about the record of free space.
package struct RecordStatistics: Codable, Equatable, Sendable {
  package struct Reason: Codable, Equatable, Sendable {
    package var reason: String
    package var count: UInt64
  }

  /// `v1`, `v2` or `none`.
  package var kind: String
  /// Caches whose file was made or made anew (v1).
  package var setUp: UInt64 = 0
  /// Caches that were written (v1), or groups whose items were changed or written anew (v2).
  package var written: UInt64 = 0
  /// What was written of caches (v1).
  package var bytes: UInt64 = 0
  /// Caches that were disowned instead, in a commit that could not have written them, by reason.
  package var skipped: [Reason] = []
  package var failed: [Reason] = []

  package init(kind: String) { self.kind = kind }

  package var skippedCount: UInt64 { skipped.reduce(0) { $0 + $1.count } }
  package var failedCount: UInt64 { failed.reduce(0) { $0 + $1.count } }
}

/// Why a commit has not written a cache.
enum CacheObstacle: String, Sendable {
  // Skipped.
  case inFlight = "data on their way to the device"
  case notLoaded = "free space is not known"
  case emptied = "the block group is being emptied"
  case endless = "the commit did not come to an end"

  // Failed.
  case noSpace = "no space"
  case noMemory = "no memory"
  case notEncodable = "does not fit"
  case setup = "could not be set up"
  case writing = "could not be written"

  var isFailure: Bool {
    switch self {
    case .inFlight, .notLoaded, .emptied, .endless: false
    case .noSpace, .noMemory, .notEncodable, .setup, .writing: true
    }
  }
}

/// Counts for `RecordStatistics`. Only the thread that commits counts. Lock rank: `leaf`.
struct RecordCounts: Sendable {
  private let figures: Guarded<RecordStatistics>

  init(kind: String) { figures = Guarded(RecordStatistics(kind: kind), rank: .leaf) }

  var statistics: RecordStatistics { figures.withLock { $0 } }

  func noteSetUp() { figures.withLock { $0.setUp += 1 } }

  func noteWritten(bytes: Int = 0) {
    figures.withLock {
      $0.written += 1
      $0.bytes += UInt64(bytes)
    }
  }

  func note(_ obstacle: CacheObstacle) {
    figures.withLock { figures in
      let list: WritableKeyPath<RecordStatistics, [RecordStatistics.Reason]> =
        obstacle.isFailure ? \.failed : \.skipped
      let index = figures[keyPath: list].firstIndex { $0.reason == obstacle.rawValue }
      if let index {
        figures[keyPath: list][index].count += 1
      } else {
        figures[keyPath: list].append(.init(reason: obstacle.rawValue, count: 1))
      }
    }
  }
}

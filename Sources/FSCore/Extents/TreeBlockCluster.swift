/// Where the running transaction's next tree block is best put. Lock rank: `leaf`.
///
/// 1. The blocks of one transaction, whatever tree they are of, stand one behind the other where
///    there is room: they go to the device in few writes, and their extent items stand in few
///    leaves.
/// 2. Each transaction begins in the first piece of free space that is long enough for a small
///    one. So small transactions use a few places in turn, whose previous content nobody needs
///    any more: an image in a sparse file does not grow with each, and what was written last is
///    still in the host's caches.
///
/// The cluster is a hint: it is not reserved, and others may allocate in it.
final class TreeBlockCluster: Sendable {
  /// The least length of a cluster, in blocks.
  static let blockCount: UInt64 = 32

  private struct State {
    var generation: Generation = 0
    var next: LogicalAddress = 0
    /// Where the cluster ends; nil when there was none, and blocks are put where there is room
    /// behind the last one.
    var end: LogicalAddress?
  }

  private let state = Guarded(State(), rank: .leaf)

  enum Place {
    case at(LogicalAddress)
    /// A cluster has to be begun.
    case unknown
  }

  func place(in generation: Generation) -> Place {
    state.withLock { state in
      guard state.generation == generation else { return .unknown }
      if let end = state.end, state.next >= end { return .unknown }
      return .at(state.next)
    }
  }

  /// Begins the cluster `range`; with nil there is none to be had in this transaction.
  func begin(
    _ range: (start: LogicalAddress, length: UInt64)?, in generation: Generation
  ) {
    state.withLock { state in
      state.generation = generation
      if let range { state.next = range.start }
      state.end = range.map { $0.start + $0.length }
    }
  }

  /// A block was put there.
  func didPlace(_ address: LogicalAddress, _ length: UInt64) {
    state.withLock { $0.next = address + length }
  }
}

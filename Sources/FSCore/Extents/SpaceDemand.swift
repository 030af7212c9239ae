import Synchronization

/// What will take space later without a reservation of its own: reservations keep room for it.
/// The code that changes one of the numbers says so here.
package final class SpaceDemand: Sendable {
  private let references = Atomic<Int>(0)
  private let dataReferences = Atomic<Int>(0)
  private let pieces = Atomic<Int>(0)

  package init() {}

  /// Changes of extents' references that are not in the extent tree; one of each extent at least.
  package var pendingReferences: Int { references.load(ordering: .relaxed) }

  /// Those of data among them.
  package var pendingDataReferences: Int { dataReferences.load(ordering: .relaxed) }

  package func addPendingReferences(_ count: Int, ofData isData: Bool) {
    references.add(count, ordering: .relaxed)
    if isData { dataReferences.add(count, ordering: .relaxed) }
  }

  /// Pieces of files that are buffered, for which data space is reserved.
  package var bufferedPieces: Int { pieces.load(ordering: .relaxed) }

  package func addBufferedPieces(_ count: Int) { pieces.add(count, ordering: .relaxed) }
}

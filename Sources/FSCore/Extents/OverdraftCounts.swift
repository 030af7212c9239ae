import Synchronization

/// How many tree blocks were taken beyond what was reserved for them. A debug build traps at the
/// first; in a release build the volume lives on what happens to be free.
package struct OverdraftCounts: ~Copyable, Sendable {
  private let ordinary = Atomic<Int>(0)
  private let opportune = Atomic<Int>(0)
  private let acceptedData = Atomic<Int>(0)
  private let freeing = Atomic<Int>(0)
  private let commit = Atomic<Int>(0)

  package subscript(purpose: MetadataPurpose) -> Int {
    switch purpose {
    case .ordinary: ordinary.load(ordering: .relaxed)
    case .opportune: opportune.load(ordering: .relaxed)
    case .acceptedData: acceptedData.load(ordering: .relaxed)
    case .freeing: freeing.load(ordering: .relaxed)
    case .commit: commit.load(ordering: .relaxed)
    }
  }

  /// Notes a block of `tree` that nothing was reserved for.
  func note(_ purpose: MetadataPurpose, _ tree: TreeID) {
    assertionFailure("a block of tree \(tree) goes beyond what was reserved: \(purpose)")
    switch purpose {
    case .ordinary: ordinary.add(1, ordering: .relaxed)
    case .opportune: opportune.add(1, ordering: .relaxed)
    case .acceptedData: acceptedData.add(1, ordering: .relaxed)
    case .freeing: freeing.add(1, ordering: .relaxed)
    case .commit: commit.add(1, ordering: .relaxed)
    }
  }
}

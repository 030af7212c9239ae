import Synchronization

/// The commit's part that says in the superblock which algorithms an image needs.
///
/// An algorithm is noted under a handle of the transaction that has the first extent compressed so, or
/// before: the commit waits for all handles, so no superblock leads to an extent that it does not
/// speak of. What was said once stays, as with Linux.
package final class CompressionFeatures: CommitParticipant {
  private let features = Atomic<UInt64>(0)

  package init() {}

  func note(_ algorithm: FileExtentItem.Compression) {
    let bits = algorithm.feature.rawValue
    guard features.load(ordering: .relaxed) & bits != bits else { return }
    features.bitwiseOr(bits, ordering: .acquiringAndReleasing)
  }

  package func settle(
    in handle: borrowing TransactionHandle, _ context: borrowing CommitContext, round: Int
  ) throws(FilesystemError) -> Bool { false }

  package func seal(
    _ superblock: inout Superblock, _ context: borrowing CommitContext
  ) throws(FilesystemError) {
    superblock.features.formUnion(
      IncompatibleFeatures(rawValue: features.load(ordering: .acquiring)))
  }
}

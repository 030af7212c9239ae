/// The inodes with buffered bytes. It keeps them in memory. Lock rank: `leaf`.
final class DirtyFiles: Sendable {
  private let inodes = Guarded<[InodeID: Inode]>([:], rank: .leaf)

  func insert(_ inode: Inode) { inodes.withLock { $0[inode.id] = inode } }

  func remove(_ inode: Inode) { inodes.withLock { _ = $0.removeValue(forKey: inode.id) } }

  /// All, as of now, by ascending id: written back in this order their items leave full leaves, and
  /// their data stand as the files were made.
  var all: [Inode] { inodes.withLock { Array($0.values) }.sorted { $0.id < $1.id } }

  var count: Int { inodes.withLock { $0.count } }
}

/// The inodes with buffered bytes. It keeps them in memory. Lock rank: `leaf`.
final class DirtyFiles: Sendable {
  private let inodes = Guarded<[InodeID: Inode]>([:], rank: .leaf)

  func insert(_ inode: Inode) { inodes.withLock { $0[inode.id] = inode } }

  func remove(_ inode: Inode) { inodes.withLock { _ = $0.removeValue(forKey: inode.id) } }

  /// All, as of now.
  var all: [Inode] { inodes.withLock { Array($0.values) } }

  var count: Int { inodes.withLock { $0.count } }
}

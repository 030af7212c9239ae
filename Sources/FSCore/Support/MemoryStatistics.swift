/// What a volume has in memory, by pool, in bytes.
package struct MemoryStatistics: Codable, Equatable, Sendable {
  package struct Pool: Codable, Equatable, Sendable {
    package var name: String
    package var used: Int
    /// Beyond this the pool waits, commits, or lets something go.
    package var limit: Int
  }

  /// `cache=`.
  package var budget: Int
  package var pools: [Pool]
  /// Pages for device IO that are handed out, and those that are kept to be handed out again: of
  /// the whole process. Most of the pools stand in them.
  package var pagesUsed: Int
  package var pagesSpare: Int

  package var used: Int { pools.reduce(0) { $0 + $1.used } }
}

extension MemoryBudget {
  package var statistics: MemoryStatistics {
    func pool(_ name: String, _ share: MemoryShare) -> MemoryStatistics.Pool {
      MemoryStatistics.Pool(name: name, used: share.used, limit: share.limit)
    }
    return MemoryStatistics(
      budget: totalBytes,
      pools: [
        pool("dirty tree blocks", dirtyBlocks),
        MemoryStatistics.Pool(
          name: "clean tree blocks", used: cleanBlocks.used, limit: cleanBlockLimit),
        pool("file data", fileData), pool("inodes", inodes),
        pool("references", references), pool("trees", trees),
        pool("free space", freeSpace), pool("block groups", groups),
      ],
      pagesUsed: PageMemory.shared.usedBytes, pagesSpare: PageMemory.shared.spareBytes)
  }
}

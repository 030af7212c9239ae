/// The tree blocks in memory, and how often one that was looked for was there.
package struct BlockCacheStatistics: Codable, Equatable, Sendable {
  /// Blocks that are on the device too.
  package var clean: Int
  /// Blocks that are not.
  package var dirty: Int
  package var bytesPerBlock: Int
  package var hits: UInt64
  /// Blocks that were read because somebody waited for them.
  package var misses: UInt64
  /// Blocks that were read before anybody asked for them.
  package var readAhead: UInt64
}

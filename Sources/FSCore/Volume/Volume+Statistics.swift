/// What statfs(2) shows (format §17), in blocks of `blockSize` bytes.
package struct FilesystemStatistics: Sendable, Equatable {
  package var blockSize: UInt64
  package var blocks: UInt64
  package var freeBlocks: UInt64
  /// What could still be written as data.
  package var availableBlocks: UInt64
}

extension Volume {
  package func statistics() throws(FilesystemError) -> FilesystemStatistics {
    let space = space.statistics
    let unit = geometry.sectorSize
    return FilesystemStatistics(
      blockSize: unit, blocks: space.total / space.dataCopies / unit,
      freeBlocks: space.freeForUser / unit, availableBlocks: space.availableData / unit)
  }
}

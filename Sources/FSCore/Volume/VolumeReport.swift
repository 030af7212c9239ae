/// Figures of a mounted volume, for people and programs that look at it: `fsmount stats`. They are
/// collected one after the other while the volume works, so that they need not add up to the byte.
package struct VolumeReport: Codable, Sendable {
  /// What is in memory only.
  package struct Dirty: Codable, Equatable, Sendable {
    /// Tree blocks.
    package var blocks: Int
    /// File data, in bytes of memory.
    package var fileBytes: Int
    /// Pieces of files.
    package var pieces: Int
    /// Block groups that the next commit looks at.
    package var groups: Int
  }

  /// The last transaction that is durable.
  package var generation: UInt64
  /// Why nothing can be changed; nil when something can.
  package var readOnlyReason: String?
  package var commits: CommitStatistics
  package var record: RecordStatistics
  package var space: [SpaceClassStatistics]
  /// Bytes of the device that no chunk has.
  package var unallocated: UInt64
  package var reservations: ReservationStatistics
  package var dirty: Dirty
  package var blockCache: BlockCacheStatistics
  package var memory: MemoryStatistics

  package var pinned: UInt64 { space.reduce(0) { $0 + $1.pinned } }
}

extension Volume {
  package func report() -> VolumeReport {
    let blocks = trees.context.cache.statistics
    return VolumeReport(
      generation: commitCount,
      readOnlyReason: readOnlyReason ?? transactions.failure?.description,
      commits: committer.statistics, record: record.statistics, space: space.classStatistics,
      unallocated: space.unallocated, reservations: space.reservations.statistics,
      dirty: VolumeReport.Dirty(
        blocks: blocks.dirty, fileBytes: files.bufferedBytes,
        pieces: space.reservations.demand.bufferedPieces, groups: space.groups.dirty.count),
      blockCache: blocks, memory: memory.statistics)
  }

  /// What `btrfs filesystem usage` tells of a mount.
  package func usage() throws(FilesystemError) -> SpaceUsage {
    var devices: [SpaceUsage.Device] = []
    try trees.chunk.forEach(
      from: Key(.devItems, .devItem, 0), through: Key(.devItems, .devItem, .max)
    ) { (_, bytes) throws(FilesystemError) in
      let item = try DeviceItem(bytes)
      devices.append(SpaceUsage.Device(item, among: device.devices))
      return true
    }
    var used: [LogicalAddress: UInt64] = [:]
    for group in space.groups.all { used[group.start] = group.used }
    var usage = SpaceUsage(
      devices: devices,
      chunks: device.chunks.all.map { (chunk: $0, used: used[$0.start] ?? 0) })
    usage.setReserve(
      space.reservations.globalReserve, used: space.reservations.globalReserveUsed)
    let statistics = try statistics()
    usage.setStatfs(statistics.availableBlocks * statistics.blockSize)
    return usage
  }
}

extension SpaceUsage.Device {
  /// A device of the file system, which may be open.
  package init(_ item: DeviceItem, among devices: DeviceSet) {
    let length = devices[item.deviceID]?.sizeBytes
    let slack = length.map { $0 > item.totalBytes ? $0 - item.totalBytes : 0 }
    self.init(id: item.deviceID.rawValue, size: item.totalBytes, slack: slack ?? 0)
  }
}

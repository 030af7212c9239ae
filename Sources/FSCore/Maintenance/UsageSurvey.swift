/// How the space of an image that is not mounted is used, as far as it can be read.
package struct UsageSurvey {
  private let reader: ImageReader

  package init(_ reader: ImageReader) { self.reader = reader }

  package func usage() throws(FilesystemError) -> SpaceUsage {
    var devices: [SpaceUsage.Device] = []
    try reader.walk(
      reader.rootOfChunkTree, from: Key(.devItems, .devItem, 0),
      through: Key(.devItems, .devItem, .max)
    ) { (_, bytes) throws(FilesystemError) in
      devices.append(SpaceUsage.Device(try DeviceItem(bytes), among: reader.device.devices))
      return true
    }
    if devices.isEmpty {
      let item = try reader.superblock.deviceItem
      devices = [SpaceUsage.Device(item, among: reader.device.devices)]
    }
    let used = try usedByGroup()
    let chunks = reader.chunks
    var usage = SpaceUsage(
      devices: devices, chunks: chunks.map { (chunk: $0, used: used[$0.start] ?? 0) })
    let metadata = chunks.filter { $0.item.flags.contains(.metadata) }
    let length = metadata.reduce(0) { sum, chunk in
      chunk.superblockRanges.reduce(sum &+ chunk.length) { $0 &- $1.length }
    }
    let policy = ReservationPolicy(
      nodeSize: reader.geometry.nodeSize, height: 1, isMixed: reader.geometry.isMixed)
    usage.setReserve(policy.globalReserve(metadataBytes: length), used: 0)
    return usage
  }

  /// What extents use of each block group, by its start.
  package func usedByGroup() throws(FilesystemError) -> [LogicalAddress: UInt64] {
    let survey = CacheSurvey(reader)
    var used: [LogicalAddress: UInt64] = [:]
    for chunk in reader.chunks { used[chunk.start] = survey.blockGroupItem(of: chunk)?.used }
    return used
  }
}

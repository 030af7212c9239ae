import Logging

/// The parts that hand out the volume's space, put together from the lowest up. What they do stands
/// with each of them.
package final class Space: Sendable {
  package let groups: BlockGroupRegistry
  package let chunks: ChunkLifecycle
  package let loader: GroupLoader
  package let reservations: Reservations
  package let allocator: ExtentAllocator
  package let trees: Trees

  /// Of the other devices of the file system, in bytes.
  private let otherBytes: UInt64
  private let isReadOnly: Bool

  /// Reads the block groups and the device's extents. Only system groups are loaded.
  ///
  /// - Parameter notesChanges: groups note what changes in them, and the record of free space takes
  ///   it at every commit.
  /// - Parameter memory: for block groups, and what is known of free space.
  package init(
    trees: Trees, chunks map: ChunkMap, geometry: Geometry, superblock: Superblock,
    demand: SpaceDemand, commits: CommitRequests, isReadOnly: Bool, notesChanges: Bool = false,
    memory: MemoryBudget, log: Logger
  ) throws(FilesystemError) {
    let device = try superblock.deviceItem
    self.trees = trees
    self.isReadOnly = isReadOnly
    otherBytes =
      superblock.deviceCount > 1
      ? superblock.totalBytes - min(device.totalBytes, superblock.totalBytes) : 0

    groups = BlockGroupRegistry(
      geometry: geometry, itemTree: try BlockGroupRegistry.itemTree(trees, superblock),
      notesChanges: notesChanges, memory: memory, log: log)
    try groups.read(map, isReadOnly: isReadOnly)
    let space = try DeviceSpace(
      totalBytes: device.totalBytes,
      extents: DeviceSpace.extents(in: trees.device, of: device.deviceID))
    chunks = ChunkLifecycle(
      map: map, groups: groups,
      allocator: ChunkAllocator(space: space, chunks: map.all, geometry: geometry, device: device),
      device: device)
    loader = GroupLoader(extentTree: trees.extent, geometry: geometry, log: log)
    reservations = Reservations(
      groups: groups, chunks: chunks, loader: loader, demand: demand, commits: commits)
    allocator = ExtentAllocator(groups: groups, chunks: chunks, reservations: reservations)
    if !isReadOnly { prepareForWriting() }
  }

  /// The chunk tree must be changed whenever a chunk is made, and nothing can be loaded then.
  private func prepareForWriting() {
    for group in groups.system.groups { loader.load(group) }
    for tree in [trees.root, trees.extent, trees.checksum] {
      reservations.noteLevel(tree.rootState.level)
    }
    if let tree = try? trees.subvolume(.topLevel) {
      reservations.noteLevel(tree.rootState.level)
    }
  }
}

extension DeviceSpace {
  /// The device extents of one device, in ascending order.
  static func extents(
    in tree: Tree, of deviceID: DeviceID
  ) throws(FilesystemError) -> [(start: UInt64, length: UInt64)] {
    var extents: [(start: UInt64, length: UInt64)] = []
    let first = Key(deviceID.objectID, .devExtent, 0)
    let last = Key(deviceID.objectID, .devExtent, .max)
    try tree.forEach(from: first, through: last) { key, bytes throws(FilesystemError) in
      extents.append((key.offset, try DeviceExtent(bytes).length))
      return true
    }
    return extents
  }
}

extension Space {
  /// What of the device is in empty metadata chunks that are given back when data need it: all of them
  /// but one.
  private var bytesOfEmptyMetadata: UInt64 {
    guard !isReadOnly, !groups.geometry.isMixed else { return 0 }
    let all = groups.metadata.groups.filter { !$0.isReadOnly }
    let sizes = all.filter(\.isEmpty).map { $0.length * UInt64($0.flags.copies) }
    let kept = sizes.count == all.count ? sizes.min() ?? 0 : 0
    return sizes.reduce(0, +) - kept
  }

  package var statistics: SpaceStatistics {
    // Groups on other devices have whatever length the image says.
    let unit = groups.geometry.sectorSize
    var sectors: UInt64 = 0
    for group in groups.all { sectors += group.used / unit * UInt64(group.flags.copies) }
    let used = min(sectors, .max / 2 / unit) * unit
    let copies = UInt64(groups.data.profile.copies)
    let reserve = reservations.globalReserve

    let counters = groups.data.counters.withLock { $0 }
    // As the kernel has it, a volume that is not written has no room in its block groups.
    let existing = isReadOnly ? 0 : counters.length - counters.used - counters.inFlight
    let isMixed = groups.geometry.isMixed
    let taken = counters.reserved + (isMixed ? reserve : 0)
    let unallocated = (chunks.allocator.unallocated + bytesOfEmptyMetadata) / copies
    return SpaceStatistics(
      dataCopies: copies, total: otherBytes + chunks.deviceBytes, used: used,
      globalReserve: reserve,
      availableData: (existing > taken ? existing - taken : 0) + unallocated)
  }
}

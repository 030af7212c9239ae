import FreeSpace
import Logging
import Synchronization

/// All block groups of the volume: who gets which space, how much is reserved, and what becomes
/// of what is freed.
///
/// 1. A byte is handed out at most once until its commit's space is given back: an allocation
///    takes from a loaded group's index, and only `abandon` and `unpin` put into it.
/// 2. What is freed in transaction T is not handed out before T is durable (`unpin`).
/// 3. Allocating is in memory only: no IO, no tree, no waiting. Loading groups and making chunks
///    comes first, in `reserveMetadata` and `reserveData`, which are called with no handle open
///    and no lock of rank `reservation` or above held.
/// 4. For each class `free ≥ reservedData + reservedMetadata` whenever one is made, and beyond that
///    ordinary work leaves `globalReserve` and what pending references may cost.
/// 5. A chunk exists in memory before the trees know of it; no commit is complete before
///    `ChunkItems` has told them of every chunk that holds an extent of it.
/// 6. A group is in `dirty` exactly if its `isListedAsDirty` is set: extents entered or left it
///    since the last critical section, or the record of free space wants it to be looked at.
///
/// Lock ranks: `growth` is `reservation`; `registry` and the chunk allocator are `spaceManager`,
/// and neither is held while the other, or a block group's lock, is taken.
package final class SpaceManager: Sendable {
  struct Registry {
    /// By ascending address.
    var groups: [BlockGroup] = []
    var dirty: [BlockGroup] = []
    /// Chunks that no tree knows yet, oldest first.
    var new: [NewGroup] = []
    /// Groups in which something was pinned, by transaction.
    var pinned: [Generation: [BlockGroup]] = [:]
    /// Bytes that extent items cover, by the BLOCK_GROUP_ITEMs in the tree.
    var writtenUsed: UInt64 = 0
    /// Stripes of chunks that the trees know.
    var deviceBytesUsed: UInt64
    /// A change that cannot be right was asked for; nothing is committed after that.
    var failure: FilesystemError?
  }

  struct NewGroup {
    let group: BlockGroup
    let chunk: Chunk
  }

  let trees: Trees
  let chunks: ChunkMap
  let geometry: Geometry
  let deviceBytes: UInt64
  /// Of all devices of the file system.
  let totalBytes: UInt64
  let deviceKey: Key
  /// The tree that block group items stand in.
  let groupItemTree: Tree
  let isReadOnly: Bool
  /// Whether groups note what changes in them for the record of free space.
  let notesChanges: Bool
  let log: Logger

  let data: BlockGroupClass
  /// The same object as `data` where block groups are mixed.
  let metadata: BlockGroupClass
  let system: BlockGroupClass

  let registry: Guarded<Registry>
  let chunkAllocator: ChunkAllocator
  /// Held while a group is loaded or a chunk made because space ran short.
  let growth = Guarded((), rank: .reservation)
  let cluster = TreeBlockCluster()
  let highestLevel = Atomic<Int>(1)

  /// What the running transaction's commit has taken of its reserve, less what references
  /// brought.
  let commitDrawn = Atomic<Int64>(0)
  /// Tree blocks that were taken beyond what was reserved for them, by purpose.
  let overdrafts = OverdraftCounts()

  /// Set once by whoever puts the volume together, before the first change. Reads the record on
  /// the device; without it every group is loaded from the extent tree. It holds this object.
  nonisolated(unsafe) package weak var freeSpaceLoader: (any FreeSpaceLoader)?
  /// Set once. Commits the running transaction and returns when it is durable.
  nonisolated(unsafe) package var requestCommit: (@Sendable () throws(FilesystemError) -> Void)?
  /// Set once. How many extents have changes that are not in the extent tree.
  nonisolated(unsafe) package var pendingReferences: (@Sendable () -> Int)?
  /// Set once. How many pieces of files are buffered, for which data space is reserved.
  nonisolated(unsafe) package var bufferedPieces: (@Sendable () -> Int)?

  /// Reads the block groups and the device's extents. Only system groups are loaded.
  ///
  /// - Parameter notesChanges: groups note what changes in them, and whoever keeps the record of
  ///   free space takes it at every commit.
  package init(
    trees: Trees, chunks: ChunkMap, geometry: Geometry, superblock: Superblock,
    isReadOnly: Bool, notesChanges: Bool = false, log: Logger
  ) throws(FilesystemError) {
    let device = try superblock.deviceItem
    self.trees = trees
    self.chunks = chunks
    self.isReadOnly = isReadOnly
    self.notesChanges = notesChanges
    self.geometry = geometry
    self.log = log
    deviceBytes = device.totalBytes
    totalBytes = superblock.deviceCount > 1 ? superblock.totalBytes : device.totalBytes
    deviceKey = Key(.devItems, .devItem, device.deviceID.rawValue)
    groupItemTree = try Self.groupItemTree(trees, superblock)

    let mixed = BlockGroupClass(types: [.data, .metadata])
    data = geometry.isMixed ? mixed : BlockGroupClass(types: .data)
    metadata = geometry.isMixed ? mixed : BlockGroupClass(types: .metadata)
    system = BlockGroupClass(types: .system)

    let space = try DeviceSpace(
      totalBytes: device.totalBytes,
      extents: Self.deviceExtents(trees.device, deviceID: device.deviceID))
    chunkAllocator = ChunkAllocator(
      space: space, chunks: chunks.all, geometry: geometry, device: device)
    registry = Guarded(
      Registry(deviceBytesUsed: device.bytesUsed), rank: .spaceManager)
    try readGroups()
    if !isReadOnly { prepareForWriting() }
  }

  /// The chunk tree must be changed whenever a chunk is made, and nothing can be loaded then.
  private func prepareForWriting() {
    for group in system.groups { load(group) }
    for tree in [trees.root, trees.extent, trees.checksum] { noteLevel(tree.rootState.level) }
    if let tree = try? trees.subvolume(.topLevel) { noteLevel(tree.rootState.level) }
  }

  private static func deviceExtents(
    _ tree: Tree, deviceID: DeviceID
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

  private func readGroups() throws(FilesystemError) {
    var groups: [BlockGroup] = []
    var used: UInt64 = 0
    for chunk in chunks.all {
      let key = Key(ObjectID(chunk.start.rawValue), .blockGroupItem, chunk.length)
      let item = try groupItemTree.find(key) { bytes throws(FilesystemError) in
        try BlockGroupItem(bytes)
      }
      // Where chunks and groups do not agree the image is read-only, and the mount has said so.
      guard let item, item.flags == chunk.item.flags else {
        if isReadOnly { continue }
        throw .corrupt("chunk \(chunk.start) has no block group item of its type")
      }
      let members = try groupClass(of: item.flags)
      let group = try BlockGroup(
        chunk: chunk, used: item.used, notesChanges: notesChanges,
        sectorSize: geometry.sectorSize, counters: members.counters)
      members.append(group)
      groups.append(group)
      used += item.used
    }
    registry.withLock { registry in
      registry.groups = groups
      registry.writtenUsed = used
    }
  }

  /// The tree that block group items stand in: on images with that feature, which are mounted
  /// read-only, one of its own.
  private static func groupItemTree(
    _ trees: Trees, _ superblock: Superblock
  ) throws(FilesystemError) -> Tree {
    guard superblock.readOnlyFeatures.contains(.blockGroupTree) else { return trees.extent }
    guard let tree = try trees.optional(.blockGroup) else {
      throw .corrupt("the image has no block group tree, though its superblock says so")
    }
    return tree
  }

  func groupClass(of flags: BlockGroupFlags) throws(FilesystemError) -> BlockGroupClass {
    let types = flags.intersection(.types)
    if types == .system { return system }
    if geometry.isMixed, !types.isEmpty, !types.contains(.system) { return data }
    if types == .data { return data }
    if types == .metadata { return metadata }
    throw .corrupt("a block group of type \(types.rawValue)")
  }

  /// All block groups by ascending address.
  package var groups: [BlockGroup] { registry.withLock { $0.groups } }

  package func group(containing address: LogicalAddress) throws(FilesystemError) -> BlockGroup {
    let found = registry.withLock { registry -> BlockGroup? in
      var low = 0
      var high = registry.groups.count
      while low < high {
        let middle = (low + high) / 2
        if registry.groups[middle].end > address { high = middle } else { low = middle + 1 }
      }
      guard low < registry.groups.count, registry.groups[low].start <= address else { return nil }
      return registry.groups[low]
    }
    guard let found else { throw .corrupt("logical address \(address) is in no block group") }
    return found
  }

  /// Remembers the first thing that went wrong where nothing could be thrown.
  func fail(_ error: FilesystemError) {
    let isFirst = registry.withLock { registry in
      let isFirst = registry.failure == nil
      if isFirst { registry.failure = error }
      return isFirst
    }
    if isFirst { log.error("space accounting: \(error)") }
  }

  /// Throws what went wrong where nothing could be thrown.
  func checkFailure() throws(FilesystemError) {
    if let failure = registry.withLock({ $0.failure }) { throw failure }
  }
}

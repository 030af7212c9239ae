import Logging
import SimulatedDevices

@testable import FSCore

/// One tree on a device in memory, with an allocator that only counts upwards and references
/// that are kept in a dictionary: the tree layer by itself.
final class TreeFixture: TreeBlockAllocator, ExtentReferences, @unchecked Sendable {
  let geometry: Geometry
  let disk: SimulatedDevice
  let device: LogicalDevice
  let memory: MemoryBudget
  let cache: TreeBlockCache
  let context: TreeContext
  let transactions: TransactionManager
  private(set) var tree: Tree!

  private static let base: UInt64 = 1 << 20
  private let nextAddress: Guarded<UInt64>
  private let counts = Guarded<[LogicalAddress: Int]>([:], rank: .delayedReferences)

  init(
    id: TreeID = .topLevel, nodeSize: UInt64 = 4096, cacheBytes: Int = 64 << 20
  ) throws {
    geometry = Geometry(
      nodeSize: nodeSize, sectorSize: 4096, checksumType: .crc32c, fsid: .random(),
      chunkTreeUUID: .random(), features: [.noHoles, .skinnyMetadata])
    let memory = MemoryDevice(sizeBytes: 8 << 30)
    disk = try SimulatedDevice(memory)
    let chunks = ChunkMap(devices: DeviceSet(disk, id: 1))
    let stripe = ChunkItem.Stripe(deviceID: 1, offset: 1_048_576, deviceUUID: .zero)
    try chunks.add(
      Chunk(
        start: LogicalAddress(Self.base),
        item: ChunkItem(
          length: 4 << 30, flags: .metadata, sectorSize: 4096, stripes: [stripe])))
    device = LogicalDevice(chunks: chunks)
    self.memory = MemoryBudget(totalBytes: UInt64(cacheBytes))
    cache = TreeBlockCache(
      device: device, geometry: geometry, superGeneration: 1, budget: self.memory,
      log: Logger(label: "test"))
    context = TreeContext(cache: cache)
    transactions = TransactionManager(
      committed: 1, reserver: nil, commits: CommitRequests(),
      repairs: MirrorRepairs(), log: Logger(label: "test"))
    nextAddress = Guarded(Self.base + nodeSize, rank: .spaceManager)
    context.allocator = self
    context.references = self

    // The empty root that the tree is opened from.
    let buffer = AlignedBuffer(zeroed: geometry.nodeBytes)
    BlockHeader(
      fsid: geometry.fsid, address: LogicalAddress(Self.base),
      chunkTreeUUID: geometry.chunkTreeUUID, generation: 1, owner: id, level: 0
    ).encode(into: buffer.bytes)
    geometry.checksumType.seal(buffer.bytes)
    try device.write(buffer.readable, at: LogicalAddress(Self.base))
    counts.withLock { $0[LogicalAddress(Self.base)] = 1 }
    tree = try Tree(
      id: id, address: LogicalAddress(Self.base), level: 0, generation: 1, lastSnapshot: 0,
      context: context)
  }

  /// Writes what is dirty and begins the next transaction.
  func commit() throws {
    let blocks = try transactions.criticalSection { (_) throws(FilesystemError) in
      cache.takeDirty()
    }
    try BlockWriter(device: device, geometry: geometry).write(blocks)
    cache.didWrite(blocks)
    let generation = Generation(transactions.running.rawValue - 1)
    transactions.didCommit(generation)
  }

  /// Opens the tree anew, with an empty cache: what was committed.
  func reopened() throws -> Tree {
    let fresh = TreeBlockCache(
      device: device, geometry: geometry, superGeneration: cache.newestOnDevice,
      budget: MemoryBudget(totalBytes: 1 << 20), log: Logger(label: "test"))
    let state = tree.rootState
    return try Tree(
      id: tree.id, address: state.address, level: state.level, generation: state.generation,
      lastSnapshot: 0, context: TreeContext(cache: fresh))
  }

  /// How many blocks are referenced.
  var liveBlocks: Int { counts.withLock { $0.count } }

  func allocateTreeBlock(
    for tree: TreeID, level: UInt8, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> LogicalAddress {
    nextAddress.withLock { next in
      defer { next += geometry.nodeSize }
      return LogicalAddress(next)
    }
  }

  func add(
    _ address: LogicalAddress, _ kind: ExtentKind, _ identity: ReferenceIdentity, count: Int32,
    newExtent: Bool, in handle: borrowing TransactionHandle
  ) {
    counts.withLock { counts in
      let left = counts[address, default: 0] + Int(count)
      counts[address] = left == 0 ? nil : left
    }
  }

  func setFullBackref(
    _ address: LogicalAddress, level: UInt8, in handle: borrowing TransactionHandle
  ) {}

  func state(
    of address: LogicalAddress, _ kind: ExtentKind
  ) throws(FilesystemError) -> (references: UInt64, fullBackref: Bool) { (1, false) }

  func withReferencesLocked<R>(
    _ body: () throws(FilesystemError) -> R
  ) throws(FilesystemError) -> R { try body() }
}

extension Tree {
  /// The items of a tree that is as it should be, and the number of its blocks.
  func checkedContent() throws -> (items: [(key: Key, bytes: [UInt8])], blockCount: Int) {
    let blockCount = try checkInvariants()
    var items: [(key: Key, bytes: [UInt8])] = []
    try forEach(from: .zero) { (key, bytes) throws(FilesystemError) in
      items.append((key, bytes.array(0, bytes.byteCount)))
      return true
    }
    return (items, blockCount)
  }
}

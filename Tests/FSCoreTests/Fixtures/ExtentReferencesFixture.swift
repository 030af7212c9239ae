import Logging

@testable import FSCore

/// Hands out addresses and checks what it is told about them.
final class FixtureSpace: TreeBlockAllocator, ExtentSpaceAccounting {
  enum Use: Equatable { case inFlight, inserted, pinned }

  struct Extent: Equatable {
    var length: UInt64
    var isMetadata: Bool
    var use: Use
  }

  struct State {
    var extents: [LogicalAddress: Extent] = [:]
    var free: [UInt64: [LogicalAddress]] = [:]
    var nextBlock: LogicalAddress = 0x40_0000
    var nextData: LogicalAddress = 0x2000_0000
    var violations: [String] = []
    var abandonedCount = 0
  }

  let state = Guarded(State(), rank: .spaceManager)
  let nodeSize: UInt64

  init(nodeSize: UInt64) { self.nodeSize = nodeSize }

  func allocateTreeBlock(
    for tree: TreeID, level: UInt8, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> LogicalAddress {
    state.withLock { state in
      var address = state.nextBlock
      // Lengths of data are odd numbers of sectors, so that the lists never mix.
      if let reused = state.free[nodeSize]?.popLast() {
        address = reused
      } else {
        state.nextBlock = state.nextBlock + nodeSize
      }
      precondition(state.extents[address] == nil)
      state.extents[address] = Extent(length: nodeSize, isMetadata: true, use: .inFlight)
      return address
    }
  }

  func allocateData(length: UInt64) -> LogicalAddress {
    state.withLock { state in
      var address = state.nextData
      if let reused = state.free[length]?.popLast() {
        address = reused
      } else {
        state.nextData = state.nextData + length
      }
      precondition(state.extents[address] == nil)
      state.extents[address] = Extent(length: length, isMetadata: false, use: .inFlight)
      return address
    }
  }

  func creditReference(to handle: borrowing TransactionHandle) {}

  func extentInserted(
    _ address: LogicalAddress, length: UInt64, isMetadata: Bool, in h: borrowing TransactionHandle
  ) {
    change(address, length, isMetadata, from: .inFlight, to: .inserted)
  }

  func extentFreed(
    _ address: LogicalAddress, length: UInt64, isMetadata: Bool, in h: borrowing TransactionHandle
  ) {
    change(address, length, isMetadata, from: .inserted, to: .pinned)
  }

  func discard(
    _ address: LogicalAddress, length: UInt64, in handle: borrowing TransactionHandle
  ) {
    change(address, length, false, from: .inFlight, to: .pinned)
  }

  private func change(
    _ address: LogicalAddress, _ length: UInt64, _ isMetadata: Bool, from: Use, to: Use
  ) {
    state.withLock { state in
      let old = Extent(length: length, isMetadata: isMetadata, use: from)
      if state.extents[address] != old {
        state.violations.append("\(address) to \(to): was \(state.extents[address] as Any)")
      }
      state.extents[address] = Extent(length: length, isMetadata: isMetadata, use: to)
    }
  }

  func abandon(_ address: LogicalAddress, length: UInt64) {
    state.withLock { state in
      let old = state.extents.removeValue(forKey: address)
      if old?.length != length || old?.use != .inFlight {
        state.violations.append("abandoned \(address): was \(old as Any)")
      }
      state.free[length, default: []].append(address)
      state.abandonedCount += 1
    }
  }

  func releasePinned() {
    state.withLock { state in
      for (address, extent) in state.extents where extent.use == .pinned {
        state.extents[address] = nil
        state.free[extent.length, default: []].append(address)
      }
    }
  }
}

/// An extent tree, a checksum tree and subvolumes in memory, with everything below them real.
final class ExtentReferencesFixture: @unchecked Sendable {
  let geometry: Geometry
  let device: LogicalDevice
  let cache: TreeBlockCache
  let context: TreeContext
  let space: FixtureSpace
  let extentTree: Tree
  let checksumTree: Tree
  let checksums: ChecksumTree
  let references: DelayedReferences
  let transactions = TransactionManager(
    committed: 10, reserver: nil, commits: CommitRequests(),
    repairs: MirrorRepairs(), log: Logger(label: "test"))
  /// Changed between transactions only.
  var subvolumes: [TreeID: Tree] = [:]

  init(
    nodeSize: UInt64 = 4096, isSkinny: Bool = true, hasOldBlocks: Bool = false,
    checksumType: ChecksumType = .crc32c
  ) throws {
    var features: IncompatibleFeatures = [.mixedBackref, .extendedInodeRef, .noHoles]
    if isSkinny { features.insert(.skinnyMetadata) }
    geometry = Geometry(
      nodeSize: nodeSize, sectorSize: 4096, checksumType: checksumType,
      fsid: UUIDBytes(rawValue: 7), chunkTreeUUID: UUIDBytes(rawValue: 8), features: features)

    let deviceSize: UInt64 = 4 << 30
    let chunks = ChunkMap(
      devices: DeviceSet(MemoryDevice(sizeBytes: deviceSize), id: 1))
    let stripe = ChunkItem.Stripe(
      deviceID: 1, offset: 0x10_0000, deviceUUID: UUIDBytes(rawValue: 9))
    try chunks.add(
      Chunk(
        start: 0x10_0000,
        item: ChunkItem(
          length: deviceSize - (2 << 20), flags: [.data, .metadata], sectorSize: 4096,
          stripes: [stripe])))
    device = LogicalDevice(chunks: chunks)
    cache = TreeBlockCache(
      device: device, geometry: geometry, superGeneration: 10,
      budget: MemoryBudget(totalBytes: 256 << 20),
      log: Logger(label: "test"))
    context = TreeContext(cache: cache)
    space = FixtureSpace(nodeSize: nodeSize)

    let ids: [TreeID] = [.extent, .checksum, .topLevel]
    let addresses = (0..<3).map { LogicalAddress((1 << 20) + UInt64($0) * nodeSize) }
    for (id, address) in zip(ids, addresses) {
      let block = Self.emptyLeaf(id, address, geometry)
      if id == .extent {
        for (slot, (id, address)) in zip(ids, addresses).enumerated() {
          // What was written before the feature was switched on stays as it was.
          let isSkinnyItem = isSkinny && !hasOldBlocks
          var record = ExtentItemRecord(
            .treeBlock(level: 0), generation: 10, isSkinny: isSkinnyItem)
          _ = try record.apply(
            ReferenceChange(identity: .treeBlock(root: id), count: 1), inlineLimit: 200)
          let key =
            isSkinnyItem
            ? Key(ObjectID(address.rawValue), .metadataItem, 0)
            : Key(ObjectID(address.rawValue), .extentItem, nodeSize)
          block.insertItem(slot, key, size: record.encodedSize)
          record.encode(into: block.mutableItem(slot))
        }
      } else if id == .topLevel {
        block.insertItem(0, Key(1, .orphanItem, 0), size: 0)
      }
      geometry.checksumType.seal(block.buffer.bytes)
      try device.write(block.buffer.readable, at: address)
      space.state.withLock {
        $0.extents[address] = .init(length: nodeSize, isMetadata: true, use: .inserted)
      }
    }

    let trees = try zip(ids, addresses).map { [context] (id, address) in
      try Tree(
        id: id, address: address, level: 0, generation: 10, lastSnapshot: 0, context: context)
    }
    extentTree = trees[0]
    checksumTree = trees[1]
    subvolumes[.topLevel] = trees[2]
    checksums = ChecksumTree(tree: checksumTree, geometry: geometry)
    references = DelayedReferences(
      geometry: geometry, extentTree: extentTree, space: space, checksums: checksums,
      memory: MemoryShare(limit: .max), demand: SpaceDemand())
    context.allocator = space
    context.references = references
  }

  static func emptyLeaf(
    _ id: TreeID, _ address: LogicalAddress, _ geometry: Geometry, level: UInt8 = 0,
    generation: Generation = 10
  ) -> TreeBlock {
    let buffer = AlignedBuffer(zeroed: geometry.nodeBytes)
    BlockHeader(
      fsid: geometry.fsid, address: address, chunkTreeUUID: geometry.chunkTreeUUID,
      generation: generation, owner: id, level: level
    ).encode(into: buffer.bytes)
    return TreeBlock(adopting: buffer)
  }

  func change<R>(
    _ body: (borrowing TransactionHandle) throws(FilesystemError) -> R
  ) throws -> R {
    try transactions.performUnreserved(body)
  }

  /// Applies everything, writes the tree blocks, and begins the next transaction.
  func commit() throws {
    try transactions.criticalSection { (commit) throws(FilesystemError) in
      try transactions.joinWithoutLock(commit) { (h) throws(FilesystemError) in
        try references.run(in: h)
      }
      let blocks = cache.takeDirty()
      try BlockWriter(device: device, geometry: geometry).write(blocks)
      for block in blocks where [.extent, .checksum].contains(block.owner) {
        try BlockValidation.check(
          block.buffer.readable, geometry: geometry, address: block.address,
          superGeneration: Generation(commit.generation.rawValue - 1))
      }
      cache.didWrite(blocks)
      space.releasePinned()
    }
  }

  /// Makes a snapshot of a subvolume. The first thing in a transaction.
  func snapshot(of source: TreeID, as id: TreeID) throws {
    let old = subvolumes[source]!
    let state = old.rootState
    subvolumes[id] = try change { (h) throws(FilesystemError) in
      precondition(state.generation < h.generation)
      h.noteChange()
      let address = try space.allocateTreeBlock(for: id, level: state.level, in: h)
      let copy = Self.emptyLeaf(
        id, address, geometry, level: state.level, generation: h.generation)
      let content = old.root.buffer.readable
      copy.buffer.bytes.store(
        content.part(Format.headerSize, content.count - Format.headerSize),
        at: Format.headerSize)
      copy.count = old.root.count
      references.add(
        address, .treeBlock(level: state.level), .treeBlock(root: id), count: 1,
        newExtent: true, in: h)
      cache.insertNew(copy)
      for (extent, kind, identity) in try Self.content(of: copy, isFull: false) {
        references.add(extent, kind, identity, count: 1, newExtent: false, in: h)
      }
      return try Tree(
        id: id, address: address, level: state.level, generation: h.generation,
        lastSnapshot: h.generation, context: context)
    }
    subvolumes[source] = try Tree(
      id: source, address: state.address, level: state.level, generation: state.generation,
      lastSnapshot: transactions.running, context: context)
  }

  /// What the content of a block refers to, one element a pointer or item.
  static func content(
    of block: TreeBlock, isFull: Bool
  ) throws(FilesystemError) -> [(LogicalAddress, ExtentKind, ReferenceIdentity)] {
    var found: [(LogicalAddress, ExtentKind, ReferenceIdentity)] = []
    for slot in 0..<block.count {
      if !block.isLeaf {
        found.append(
          (
            block.child(slot).address, .treeBlock(level: block.level - 1),
            isFull ? .sharedBlock(parent: block.address) : .treeBlock(root: block.owner)
          ))
        continue
      }
      let key = block.key(slot)
      guard key.type == .extentData else { continue }
      let item = try FileExtentItem(block.item(slot).bytes)
      found.append(
        (
          item.diskAddress, .data(length: item.diskLength),
          isFull
            ? .sharedData(parent: block.address)
            : .data(root: block.owner, inode: key.objectID, offset: key.offset &- item.offset)
        ))
    }
    return found
  }
}

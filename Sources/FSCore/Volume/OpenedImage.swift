import Logging

/// What reading an image begins with: its superblock, chunks and trees. Nothing is written.
package struct OpenedImage {
  package let superblock: Superblock
  package let geometry: Geometry
  package let device: LogicalDevice
  package let cache: TreeBlockCache
  package let memory: MemoryBudget
  package let trees: Trees
  package let readOnlyReason: String?
  package let rootDirectory: InodeID

  package init(
    device: any BlockDevice, options: VolumeOptions, log: Logger
  ) throws(FilesystemError) {
    superblock = try Self.readSuperblock(device)
    try Self.requireNoLog(superblock, options)

    let chunks = ChunkMap()
    for chunk in try superblock.systemChunks() {
      try Self.add(chunk.start, chunk.item, of: superblock, to: chunks, device)
    }
    self.device = LogicalDevice(device: device, chunks: chunks)

    // Any tree block carries the uuid; the chunk tree's root is the first that can be read.
    let chunkTreeUUID = try Self.chunkTreeUUID(superblock, self.device)
    geometry = Geometry(
      nodeSize: UInt64(superblock.nodeSize), sectorSize: UInt64(superblock.sectorSize),
      checksumType: superblock.checksumType ?? .crc32c, fsid: superblock.blockFSID,
      chunkTreeUUID: chunkTreeUUID, features: superblock.features)
    memory = MemoryBudget(totalBytes: options.cacheBytes)
    cache = TreeBlockCache(
      device: self.device, geometry: geometry, superGeneration: superblock.generation,
      budget: memory, log: log)

    let context = TreeContext(cache: cache)
    let chunkTree = try Tree(
      id: .chunk, address: superblock.chunkRoot, level: superblock.chunkRootLevel,
      generation: superblock.chunkRootGeneration, lastSnapshot: 0, context: context)
    let superblock = self.superblock
    try chunkTree.forEach(from: Key(.firstChunkTree, .chunkItem, 0)) {
      (key, bytes) throws(FilesystemError) in
      guard key.type == .chunkItem else { return true }
      try Self.add(
        LogicalAddress(key.offset), ChunkItem(bytes), of: superblock, to: chunks, device)
      return true
    }

    trees = try Trees(superblock: superblock, chunk: chunkTree, context: context)
    readOnlyReason = try ReadOnlyRules(
      superblock: superblock, options: options, chunks: chunks, trees: trees
    ).firstReason()
    let subvolume: TreeID =
      switch options.subvolume {
      case .imageDefault: try Self.defaultSubvolume(trees)
      case .id(let id): id
      case .path(let path): try Self.subvolume(path, trees)
      }
    rootDirectory = InodeID(tree: subvolume, number: .firstFree)
    do throws(FilesystemError) {
      _ = try trees.subvolume(subvolume)
    } catch .notFound {
      throw .cannotMount("the image has no subvolume \(subvolume)")
    }
    if readOnlyReason == nil {
      MirroredReader(device: self.device, log: log).allowRepairs()
    } else {
      self.device.repairs.forbid()
    }
  }

  private static func readSuperblock(
    _ device: any BlockDevice
  ) throws(FilesystemError) -> Superblock {
    let offset = PhysicalAddress(Format.superblockOffsets[0])
    guard device.sizeBytes >= offset.rawValue + UInt64(Superblock.size) else {
      throw .cannotMount("no btrfs superblock found: the image has only \(device.sizeBytes) bytes")
    }
    let buffer = AlignedBuffer(count: Superblock.size)
    try device.read(into: buffer.bytes, at: offset)
    let superblock = Superblock(buffer.readable)
    try superblock.validate(deviceSize: device.sizeBytes)
    guard superblock.address == offset else {
      throw .cannotMount("a damaged superblock: it is a copy from offset \(superblock.address)")
    }
    return superblock
  }

  private static func requireNoLog(
    _ superblock: Superblock, _ options: VolumeOptions
  ) throws(FilesystemError) {
    guard superblock.logRoot.rawValue != 0, !options.noLogReplay else { return }
    throw .cannotMount(
      "the image was not unmounted cleanly by Linux and has a log tree to replay: mount it "
        + "once with Linux, or with -o nologreplay, read-only, as of the last commit")
  }

  private static func add(
    _ start: LogicalAddress, _ item: ChunkItem, of superblock: Superblock, to chunks: ChunkMap,
    _ device: any BlockDevice
  ) throws(FilesystemError) {
    try chunks.add(
      Chunk(start: start, item: item, on: superblock), deviceSize: device.sizeBytes)
  }

  private static func chunkTreeUUID(
    _ superblock: Superblock, _ device: LogicalDevice
  ) throws(FilesystemError) -> UUIDBytes {
    let buffer = AlignedBuffer(count: Int(superblock.nodeSize))
    let type = superblock.checksumType ?? .crc32c
    let address = superblock.chunkRoot
    return try MirroredReader(device: device, log: nil).read(
      into: buffer.bytes, at: address, of: { "the root of the chunk tree" }
    ) { (block) throws(FilesystemError) in
      guard type.isSealed(block) else {
        throw .checksum(what: "tree block", address: address.rawValue)
      }
      return BlockHeader(block.bytes).chunkTreeUUID
    }.value
  }

  /// The subvolume that is mounted when none is named.
  private static func defaultSubvolume(_ trees: Trees) throws(FilesystemError) -> TreeID {
    let name = Array("default".utf8)
    let key = Key(.rootTreeDirectory, .dirItem, FormatHash.name(name))
    let found = try trees.root.find(key) { (bytes) throws(FilesystemError) -> TreeID? in
      let entry = try DirectoryEntry.all(in: bytes).first { $0.name == name }
      return entry.map { TreeID($0.location.objectID.rawValue) }
    }
    guard let found, let id = found, id.isSubvolume else { return .topLevel }
    return id
  }

  /// The subvolume at a path from the top-level one.
  private static func subvolume(
    _ path: String, _ trees: Trees
  ) throws(FilesystemError) -> TreeID {
    var tree = TreeID.topLevel
    var directory = ObjectID.firstFree
    for component in path.split(separator: "/") {
      let name = Array(component.utf8)
      let found = try trees.subvolume(tree).find(
        Key(directory, .dirItem, FormatHash.name(name))
      ) { (bytes) throws(FilesystemError) -> Key? in
        try DirectoryEntry.all(in: bytes).first { $0.name == name }?.location
      }
      guard let found, let location = found else {
        throw .cannotMount("the image has no subvolume \(path)")
      }
      if location.type == .rootItem {
        tree = TreeID(location.objectID.rawValue)
        directory = .firstFree
      } else {
        directory = location.objectID
      }
    }
    guard directory == .firstFree else { throw .cannotMount("\(path) is not a subvolume") }
    return tree
  }
}

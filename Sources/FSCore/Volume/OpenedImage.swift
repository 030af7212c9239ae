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

    var readOnlyReason = try Self.reasonForReadOnly(superblock, options)

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
      budget: memory,
      canRepair: readOnlyReason == nil, log: log
    )

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
    if readOnlyReason == nil, let profile = Self.foreignProfile(chunks) {
      readOnlyReason = "the image has \(profile) block groups"
    }
    if readOnlyReason == nil, try Self.hasUnfinishedBalance(trees.root) {
      readOnlyReason = "a balance of the image is not finished; let Linux end or cancel it"
    }
    self.readOnlyReason = readOnlyReason
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

  /// Why the image can be read only; throws when it cannot even be read.
  private static func reasonForReadOnly(
    _ superblock: Superblock, _ options: VolumeOptions
  ) throws(FilesystemError) -> String? {
    if superblock.logRoot.rawValue != 0 && !options.noLogReplay {
      throw .cannotMount(
        "the image was not unmounted cleanly by Linux and has a log tree to replay: mount it "
          + "once with Linux, or with -o nologreplay, read-only, as of the last commit")
    }
    if options.readOnly { return "mounted with -o ro" }
    if superblock.logRoot.rawValue != 0 { return "its log tree is not replayed" }

    if superblock.deviceCount > 1 {
      return "the image is one of \(superblock.deviceCount) devices of its file system; "
        + "what has no copy on it cannot be read"
    }
    let features = superblock.readOnlyFeatures
    let known: ReadOnlyCompatibleFeatures = []
    let unknown = features.rawValue & ~known.rawValue
    if features.contains(.blockGroupTree) { return "the image has a block group tree" }
    if features.contains(.freeSpaceTree) {
      return "the image has a free space tree (space_cache=v2)"
    }
    if unknown != 0 {
      return "the image has the feature"
        + Superblock.names(of: unknown, ReadOnlyCompatibleFeatures.names)
    }
    if superblock.flags & (1 << 32) != 0 { return "the image is a seed device" }
    return nil
  }

  /// A profile that is not written here: of several devices, though there may be one left.
  private static func foreignProfile(_ chunks: ChunkMap) -> String? {
    chunks.all.map(\.item.flags).first { flags in
      !flags.intersection(.profiles).isSubset(of: .dup)
    }?.profileName
  }

  /// Whether extents are being moved: references of a kind that only Linux keeps.
  private static func hasUnfinishedBalance(_ root: Tree) throws(FilesystemError) -> Bool {
    if try root.contains(Key(.balance, .temporaryItem, 0)) { return true }
    let relocation = TreeID.relocation.objectID
    return try root.findFirst(atLeast: Key(relocation, .rootItem, 0)) {
      (key, _) throws(FilesystemError) in key.objectID == relocation
    } ?? false
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
    for copy in 0..<(try device.copies(at: superblock.chunkRoot)) {
      try device.read(into: buffer.bytes, at: superblock.chunkRoot, copy: copy)
      if type.isSealed(buffer.readable) { break }
    }
    return BlockHeader(buffer.readable.bytes).chunkTreeUUID
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

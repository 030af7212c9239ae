/// Reads an image without mounting it, as far as damage allows. For the inspection commands.
///
/// 1. Nothing is ever written.
/// 2. Memory is bounded whatever the image says: one block for each level of a tree.
/// 3. What cannot be read is noted in `problems` and skipped; only what makes all else
///    impossible (no superblock, the root of the tree in question) is thrown.
///
/// Belongs to one thread.
package final class ImageReader {
  package let device: LogicalDevice
  package let superblock: Superblock
  package let geometry: Geometry
  let blocks: BlockReader
  package private(set) var problems: [String] = []
  package private(set) var problemCount = 0

  /// Every damaged block of a large image would say the same thing over and over.
  private static let problemsKept = 100

  package var chunks: [Chunk] { device.chunks.all }

  package init(device: any BlockDevice) throws(FilesystemError) {
    let (superblock, remark) = try Self.bestSuperblock(of: device)
    guard let checksumType = superblock.checksumType else {
      throw .cannotMount("unknown checksum type \(superblock.checksumTypeNumber)")
    }
    self.superblock = superblock
    geometry = Geometry(
      nodeSize: UInt64(superblock.nodeSize), sectorSize: UInt64(superblock.sectorSize),
      checksumType: checksumType, fsid: superblock.blockFSID, chunkTreeUUID: .zero,
      features: superblock.features)
    self.device = LogicalDevice(device: device, chunks: ChunkMap())
    blocks = BlockReader(
      mirrors: MirroredReader(device: self.device, log: nil), geometry: geometry)
    if let remark { note(remark) }
    try readChunks()
  }

  package func note(_ problem: String) {
    problemCount += 1
    if problems.count < Self.problemsKept { problems.append(problem) }
  }

  /// The bytes of the superblock copy at `address`; nil where the device has none.
  package static func superblock(
    at address: PhysicalAddress, of device: any BlockDevice
  ) throws(FilesystemError) -> Superblock? {
    guard address.rawValue + UInt64(Superblock.size) <= device.sizeBytes else { return nil }
    let buffer = AlignedBuffer(count: Superblock.size)
    try device.read(into: buffer.bytes, at: address)
    return Superblock(buffer.readable)
  }

  /// The first copy, or when it is damaged the newest of the others, with a remark.
  private static func bestSuperblock(
    of device: any BlockDevice
  ) throws(FilesystemError) -> (Superblock, remark: String?) {
    let first: FilesystemError
    do throws(FilesystemError) {
      let address = PhysicalAddress(Format.superblockOffsets[0])
      guard let copy = try superblock(at: address, of: device) else {
        throw FilesystemError.cannotMount(
          "the image has \(device.sizeBytes) bytes: too short for a file system")
      }
      try copy.validate(deviceSize: device.sizeBytes)
      return (copy, nil)
    } catch {
      first = error
    }

    var best: (Superblock, remark: String?)?
    for offset in Format.superblockOffsets.dropFirst() {
      let address = PhysicalAddress(offset)
      guard let copy = try? superblock(at: address, of: device), copy.address == address,
        (try? copy.validate(deviceSize: device.sizeBytes)) != nil
      else { continue }
      if best.map({ $0.0.generation < copy.generation }) ?? true {
        best = (copy, "superblock: \(first); the copy at \(offset) is used")
      }
    }
    guard let best else { throw first }
    return best
  }

  private func readChunks() throws(FilesystemError) {
    for chunk in try superblock.systemChunks() {
      add(Chunk(start: chunk.start, item: chunk.item))
    }
    try walk(
      rootOfChunkTree, from: Key(.firstChunkTree, .chunkItem, 0),
      through: Key(.firstChunkTree, .chunkItem, .max)
    ) { (key, bytes) throws(FilesystemError) in
      add(Chunk(start: LogicalAddress(key.offset), item: try ChunkItem(bytes)))
      return true
    }
  }

  private func add(_ chunk: Chunk) {
    do throws(FilesystemError) {
      try device.chunks.add(
        Chunk(start: chunk.start, item: chunk.item, on: superblock),
        deviceSize: device.device.sizeBytes)
    } catch {
      note("\(error)")
    }
  }
}

/// Where a tree begins, or any block of it: what its reader holds it against.
package struct BlockPointer: Sendable {
  package var tree: TreeID
  package var address: LogicalAddress
  package var level: UInt8
  package var generation: Generation

  package init(tree: TreeID, address: LogicalAddress, level: UInt8, generation: Generation) {
    self.tree = tree
    self.address = address
    self.level = level
    self.generation = generation
  }
}

extension ImageReader {
  package var rootOfChunkTree: BlockPointer {
    BlockPointer(
      tree: .chunk, address: superblock.chunkRoot, level: superblock.chunkRootLevel,
      generation: superblock.chunkRootGeneration)
  }

  package var rootOfRootTree: BlockPointer {
    BlockPointer(
      tree: .root, address: superblock.root, level: superblock.rootLevel,
      generation: superblock.generation)
  }

  /// The root block of any tree. Throws `.notFound` when the root tree does not know it.
  package func root(of tree: TreeID) throws(FilesystemError) -> BlockPointer {
    switch tree {
    case .root: return rootOfRootTree
    case .chunk: return rootOfChunkTree
    case .log:
      guard superblock.logRoot != 0 else { throw .notFound }
      return BlockPointer(
        tree: .log, address: superblock.logRoot, level: superblock.logRootLevel,
        generation: superblock.generation.next)
    default: break
    }
    var found: RootItem?
    let id = tree.objectID
    try walk(
      rootOfRootTree, from: Key(id, .rootItem, 0), through: Key(id, .rootItem, .max)
    ) { (_, bytes) throws(FilesystemError) in
      found = try RootItem(bytes)
      return true
    }
    guard let found else { throw .notFound }
    return BlockPointer(
      tree: tree, address: found.address, level: found.level, generation: found.generation)
  }
}

import Logging

/// The one way in which an image is opened, to be mounted or to be inspected: superblock, devices,
/// chunks, and a reader of tree blocks. Nothing is written.
///
/// 1. To be mounted, an image must be whole as far as this looks: the first superblock, the chunk
///    tree, and chunks that make sense.
/// 2. To be inspected, with `remarks`, it is read as far as it can be: another superblock serves when
///    the first is damaged, and chunks that cannot be read are noted and left out.
package struct ImageOpening {
  package let superblock: Superblock
  package let geometry: Geometry
  package let device: LogicalDevice
  package let walk: BlockWalk

  /// - Parameters:
  ///   - remarks: where damage is noted; nil for a mount.
  ///   - log: where bad copies are told of.
  package init(
    _ device: any BlockDevice, remarks: Remarks? = nil, log: Logger? = nil
  ) throws(FilesystemError) {
    superblock = try Self.chosenSuperblock(of: device, remarks)
    let devices = DeviceSet(device, id: try superblock.deviceItem.deviceID)
    let chunks = ChunkMap(devices: devices)
    func add(_ start: LogicalAddress, _ item: ChunkItem) throws(FilesystemError) {
      do throws(FilesystemError) {
        try chunks.add(Chunk(start: start, item: item))
      } catch {
        guard let remarks else { throw error }
        remarks.add("\(error)")
      }
    }
    for chunk in try superblock.systemChunks() { try add(chunk.start, chunk.item) }
    self.device = LogicalDevice(chunks: chunks)

    let mirrors = MirroredReader(device: self.device, log: log)
    geometry = try Self.geometry(superblock, mirrors)
    walk = BlockWalk(
      blocks: BlockReader(mirrors: mirrors, geometry: geometry), newest: superblock.generation,
      remarks: remarks)
    try walk.walk(
      superblock.rootOfChunkTree, from: Key(.firstChunkTree, .chunkItem, 0),
      through: Key(.firstChunkTree, .chunkItem, .max)
    ) { (key, bytes) throws(FilesystemError) in
      try add(LogicalAddress(key.offset), ChunkItem(bytes))
      return true
    }
  }

  // The superblock.

  /// The bytes of the superblock copy at `address`; nil where the device has none.
  package static func superblock(
    at address: PhysicalAddress, of device: any BlockDevice
  ) throws(FilesystemError) -> Superblock? {
    guard address.rawValue + UInt64(Superblock.size) <= device.sizeBytes else { return nil }
    let buffer = AlignedBuffer(count: Superblock.size)
    try device.read(into: buffer.bytes, at: address)
    return Superblock(buffer.readable)
  }

  /// A copy that is where it says and can be read by this program; nil where the device has none.
  private static func validSuperblock(
    at offset: UInt64, of device: any BlockDevice
  ) throws(FilesystemError) -> Superblock? {
    let address = PhysicalAddress(offset)
    guard let copy = try superblock(at: address, of: device) else { return nil }
    try copy.validate(deviceSize: device.sizeBytes)
    guard copy.address == address else {
      throw .cannotMount("a damaged superblock: it is a copy from offset \(copy.address)")
    }
    return copy
  }

  /// The first copy, or when it is damaged and that is allowed the newest of the others.
  private static func chosenSuperblock(
    of device: any BlockDevice, _ remarks: Remarks?
  ) throws(FilesystemError) -> Superblock {
    let failure: FilesystemError
    do throws(FilesystemError) {
      if let first = try validSuperblock(at: Format.superblockOffsets[0], of: device) {
        return first
      }
      failure = .cannotMount(
        "no btrfs superblock found: the image has only \(device.sizeBytes) bytes")
    } catch {
      failure = error
    }
    guard let remarks else { throw failure }

    var best: (superblock: Superblock, offset: UInt64)?
    for offset in Format.superblockOffsets.dropFirst() {
      guard let copy = try? validSuperblock(at: offset, of: device) else { continue }
      if best.map({ $0.superblock.generation < copy.generation }) ?? true { best = (copy, offset) }
    }
    guard let best else { throw failure }
    remarks.add("superblock: \(failure); the copy at \(best.offset) is used")
    return best.superblock
  }

  private static func geometry(
    _ superblock: Superblock, _ mirrors: MirroredReader
  ) throws(FilesystemError) -> Geometry {
    guard let checksumType = superblock.checksumType else {
      throw .cannotMount("unknown checksum type \(superblock.checksumTypeNumber)")
    }
    return Geometry(
      nodeSize: UInt64(superblock.nodeSize), sectorSize: UInt64(superblock.sectorSize),
      checksumType: checksumType, fsid: superblock.blockFSID,
      chunkTreeUUID: try chunkTreeUUID(superblock, checksumType, mirrors),
      features: superblock.features)
  }

  /// Every tree block carries it; the chunk tree's root is the first that can be read.
  private static func chunkTreeUUID(
    _ superblock: Superblock, _ checksumType: ChecksumType, _ mirrors: MirroredReader
  ) throws(FilesystemError) -> UUIDBytes {
    let buffer = AlignedBuffer(count: Int(superblock.nodeSize))
    let address = superblock.chunkRoot
    // What is wrong with its copies is found again, and told of, when it is read as a block.
    let quiet = MirroredReader(device: mirrors.device, log: nil)
    return try quiet.read(
      into: buffer.bytes, at: address, of: { "the root of the chunk tree" }
    ) { (block) throws(FilesystemError) in
      guard checksumType.isSealed(block) else {
        throw .checksum(what: "tree block", address: address.rawValue)
      }
      return BlockHeader(block.bytes).chunkTreeUUID
    }.value
  }
}

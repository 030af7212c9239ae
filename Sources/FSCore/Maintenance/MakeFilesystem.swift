import Glibc

/// Makes a new, empty file system: `fsmount mkfs`.
package enum MakeFilesystem {
  package enum Profile: String, Sendable, CaseIterable {
    case single
    case dup

    var flags: BlockGroupFlags { self == .dup ? .dup : [] }
    var copies: Int { flags.copies }
  }

  /// What keeps free space on disk.
  package enum SpaceRecord: String, Sendable, CaseIterable {
    /// A file for each block group.
    case v1
    /// The free space tree.
    case v2
  }

  /// The random numbers that tell one file system from another.
  package struct Identities: Sendable {
    package var fsid = UUIDBytes.random()
    package var device = UUIDBytes.random()
    package var chunkTree = UUIDBytes.random()
    package var topLevel = UUIDBytes.random()

    package init() {}
  }

  package struct Options: Sendable {
    /// Nil: that of the existing file or device.
    package var sizeBytes: UInt64?
    package var label = ""
    /// Nil: 16 KiB, or 4 KiB with mixed groups.
    package var nodeSize: UInt64?
    /// Nil: DUP, or with mixed groups the profile of the data, or else single.
    package var metadata: Profile?
    /// Nil: single, or with mixed groups the profile of the metadata.
    package var data: Profile?
    /// Data and metadata share block groups: for small devices.
    package var isMixed = false
    package var checksum = ChecksumType.crc32c
    /// Nil: v1, or with a block group tree v2.
    package var spaceRecord: SpaceRecord?
    /// Keep block group items in a tree of their own: large file systems mount faster.
    package var hasBlockGroupTree = false
    /// Overwrite what is there, whatever it is.
    package var force = false
    package var identities = Identities()
    /// Nil: the clock's.
    package var now: Timestamp?

    package init() {}
  }

  /// What was made, for people to look at.
  package struct Summary: Sendable {
    package let superblock: Superblock
    package let chunks: [Chunk]
  }

  package static let smallestSize: UInt64 = 128 << 20
  static let sectorSize: UInt64 = 4096

  /// The first transaction is the one that makes the file system.
  static let generation: Generation = 1

  /// The options with every choice made. Throws `.invalidArgument` when they contradict.
  struct Choices {
    let label: [UInt8]
    let nodeSize: UInt64
    let metadata: Profile
    let data: Profile
    let isMixed: Bool
    let checksum: ChecksumType
    let hasFreeSpaceTree: Bool
    let hasBlockGroupTree: Bool
    let identities: Identities
    let now: Timestamp

    init(_ options: Options) throws(FilesystemError) {
      label = Array(options.label.utf8)
      guard label.count <= 255, !label.contains(0), !label.contains(0x0a) else {
        throw .invalidArgument("the label must have at most 255 bytes, all on one line")
      }

      isMixed = options.isMixed
      nodeSize = options.nodeSize ?? (isMixed ? sectorSize : 16384)
      guard nodeSize >= sectorSize, nodeSize <= 65536, nodeSize.nonzeroBitCount == 1 else {
        throw .invalidArgument(
          "the node size must be 4096, 8192, 16384, 32768 or 65536, not \(nodeSize)")
      }
      guard !isMixed || nodeSize == sectorSize else {
        throw .invalidArgument("mixed block groups need a node size of \(sectorSize)")
      }

      if isMixed {
        data = options.data ?? options.metadata ?? .single
        metadata = options.metadata ?? data
        guard data == metadata else {
          throw .invalidArgument(
            "mixed block groups hold data and metadata: both must have the same profile")
        }
      } else {
        data = options.data ?? .single
        metadata = options.metadata ?? .dup
      }
      checksum = options.checksum
      hasBlockGroupTree = options.hasBlockGroupTree
      hasFreeSpaceTree = (options.spaceRecord ?? (hasBlockGroupTree ? .v2 : .v1)) == .v2
      guard hasFreeSpaceTree || !hasBlockGroupTree else {
        throw .invalidArgument("a block group tree needs a free space tree (v2)")
      }
      identities = options.identities
      now = options.now ?? Self.clock()
    }

    private static func clock() -> Timestamp {
      var time = timespec()
      clock_gettime(CLOCK_REALTIME, &time)
      return Timestamp(seconds: Int64(time.tv_sec), nanoseconds: UInt32(time.tv_nsec))
    }

    func geometry() -> Geometry {
      var features: IncompatibleFeatures = [
        .mixedBackref, .extendedInodeRef, .skinnyMetadata, .noHoles,
      ]
      if isMixed { features.insert(.mixedGroups) }
      return Geometry(
        nodeSize: nodeSize, sectorSize: sectorSize, checksumType: checksum,
        fsid: identities.fsid, chunkTreeUUID: identities.chunkTree, features: features)
    }
  }

  /// Makes a file system on the first `sizeBytes` of `device`, all of it when nil. Whatever was
  /// there is lost: whether it may be is the caller's to decide.
  ///
  /// What is on the device is no file system from the first write until the last: the
  /// superblocks are written when all else is durable.
  package static func write(
    to device: any BlockDevice, options: Options
  ) throws(FilesystemError) -> Summary {
    let choices = try Choices(options)
    let sizeBytes = (options.sizeBytes ?? device.sizeBytes).roundedDown(to: sectorSize)
    guard sizeBytes <= device.sizeBytes else {
      throw .invalidArgument(
        "\(ByteCount.exactText(sizeBytes)) do not fit the device, which has "
          + ByteCount.text(device.sizeBytes))
    }
    let chunks = try layout(choices, sizeBytes: sizeBytes)
    let trees = Trees(choices, chunks: chunks, sizeBytes: sizeBytes)

    try erase(device, sizeBytes: sizeBytes)
    try device.flush()
    for block in trees.blocks() {
      for stripe in block.chunk.item.stripes {
        let place = stripe.offset + (block.address - block.chunk.start)
        try device.write(block.buffer.readable, at: place)
      }
    }
    try device.flush()

    let superblock = try trees.superblock()
    for offset in Superblock.offsets(deviceSize: sizeBytes) {
      let copy = superblock.sealed(for: offset)
      // The pointer alone does not keep the memory.
      defer { withExtendedLifetime(copy) {} }
      try device.write(copy.readable, at: offset)
    }
    try device.flush()
    return Summary(superblock: superblock, chunks: chunks)
  }

  /// Removes all by which tools recognise what was there before: both ends of the device,
  /// and every superblock of an earlier btrfs.
  private static func erase(
    _ device: any BlockDevice, sizeBytes: UInt64
  ) throws(FilesystemError) {
    let ends: UInt64 = 1 << 20
    try zero(device, 0, ends)
    // Two ends where only a part of the device is used: what stood on all of it goes too.
    try zero(device, sizeBytes - ends, ends)
    try zero(device, device.sizeBytes - ends, ends)
    let length = UInt64(Superblock.size)
    for offset in Format.superblockOffsets where offset + length <= device.sizeBytes {
      try zero(device, offset, length)
    }
  }

  /// Writes zeros where there are none, so that a sparse file stays sparse.
  private static func zero(
    _ device: any BlockDevice, _ start: UInt64, _ length: UInt64
  ) throws(FilesystemError) {
    let buffer = AlignedBuffer(count: 65536)
    var done: UInt64 = 0
    while done < length {
      let part = buffer.bytes.part(0, Int(min(length - done, UInt64(buffer.count))))
      try device.read(into: part, at: PhysicalAddress(start + done))
      if !UnsafeRawBufferPointer(part).isZero {
        part.zero()
        try device.write(UnsafeRawBufferPointer(part), at: PhysicalAddress(start + done))
      }
      done += UInt64(part.count)
    }
  }
}

/// CHUNK_ITEM: 48 bytes and 32 for each stripe.
package struct ChunkItem: Sendable, Equatable {
  package struct Stripe: Sendable, Equatable {
    package var deviceID: DeviceID
    package var offset: PhysicalAddress
    package var deviceUUID: UUIDBytes

    package init(deviceID: DeviceID, offset: PhysicalAddress, deviceUUID: UUIDBytes) {
      self.deviceID = deviceID
      self.offset = offset
      self.deviceUUID = deviceUUID
    }
  }

  package var length: UInt64
  package var owner: UInt64
  package var stripeLength: UInt64
  package var flags: BlockGroupFlags
  package var ioAlign: UInt32
  package var ioWidth: UInt32
  package var sectorSize: UInt32
  package var subStripes: UInt16
  package var stripes: [Stripe]

  package static let fixedSize = 48
  package static let stripeSize = 32

  package var size: Int { Self.fixedSize + stripes.count * Self.stripeSize }

  /// How many devices follow one another within a row of 64 KiB from each; 1 when every stripe is
  /// a whole copy. What a column's stripes hold is the same.
  package var columns: UInt64 {
    if flags.intersection(.profiles).isSubset(of: .mirrors) { return 1 }
    return UInt64(max(stripes.count / stripesOfColumn, 1))
  }

  /// Below `columns`.
  package func column(ofStripe index: Int) -> UInt64 {
    columns == 1 ? 0 : min(UInt64(index / stripesOfColumn), columns - 1)
  }

  private var stripesOfColumn: Int { flags.contains(.raid10) ? max(Int(subStripes), 1) : 1 }

  package init(
    length: UInt64, flags: BlockGroupFlags, sectorSize: UInt32, stripes: [Stripe]
  ) {
    self.length = length
    owner = TreeID.extent.rawValue
    stripeLength = Format.stripeLength
    self.flags = flags
    ioAlign = UInt32(Format.stripeLength)
    ioWidth = UInt32(Format.stripeLength)
    self.sectorSize = sectorSize
    subStripes = 1
    self.stripes = stripes
  }

  /// Throws when the bytes are not exactly one chunk item.
  package init(_ bytes: RawSpan) throws(FilesystemError) {
    guard bytes.byteCount >= Self.fixedSize + Self.stripeSize else {
      throw .corrupt("a chunk item of \(bytes.byteCount) bytes")
    }
    length = bytes.u64(0)
    owner = bytes.u64(8)
    stripeLength = bytes.u64(0x10)
    flags = BlockGroupFlags(rawValue: bytes.u64(0x18))
    ioAlign = bytes.u32(0x20)
    ioWidth = bytes.u32(0x24)
    sectorSize = bytes.u32(0x28)
    let count = Int(bytes.u16(0x2c))
    subStripes = bytes.u16(0x2e)
    guard count >= 1, bytes.byteCount == Self.fixedSize + count * Self.stripeSize else {
      throw .corrupt("a chunk item of \(bytes.byteCount) bytes with \(count) stripes")
    }
    stripes = []
    for index in 0..<count {
      let at = Self.fixedSize + index * Self.stripeSize
      stripes.append(
        Stripe(
          deviceID: DeviceID(bytes.u64(at)), offset: PhysicalAddress(rawValue: bytes.u64(at + 8)),
          deviceUUID: bytes.uuid(at + 16)))
    }
  }

  package func encode(into bytes: UnsafeMutableRawBufferPointer) {
    bytes.store(length, at: 0)
    bytes.store(owner, at: 8)
    bytes.store(stripeLength, at: 0x10)
    bytes.store(flags.rawValue, at: 0x18)
    bytes.store(ioAlign, at: 0x20)
    bytes.store(ioWidth, at: 0x24)
    bytes.store(sectorSize, at: 0x28)
    bytes.store(UInt16(stripes.count), at: 0x2c)
    bytes.store(subStripes, at: 0x2e)
    for (index, stripe) in stripes.enumerated() {
      let at = Self.fixedSize + index * Self.stripeSize
      bytes.store(stripe.deviceID.rawValue, at: at)
      bytes.store(stripe.offset.rawValue, at: at + 8)
      bytes.store(stripe.deviceUUID, at: at + 16)
    }
  }
}

/// BLOCK_GROUP_ITEM, 24 bytes.
package struct BlockGroupItem: Sendable, Equatable {
  package var used: UInt64
  package var chunkObjectID: UInt64 = 256
  package var flags: BlockGroupFlags

  package static let size = 24

  package init(used: UInt64, flags: BlockGroupFlags) {
    self.used = used
    self.flags = flags
  }

  package init(_ bytes: RawSpan) throws(FilesystemError) {
    guard bytes.byteCount == Self.size else {
      throw .corrupt("a block group item of \(bytes.byteCount) bytes")
    }
    used = bytes.u64(0)
    chunkObjectID = bytes.u64(8)
    flags = BlockGroupFlags(rawValue: bytes.u64(0x10))
  }

  package func encode(into bytes: UnsafeMutableRawBufferPointer) {
    bytes.store(used, at: 0)
    bytes.store(chunkObjectID, at: 8)
    bytes.store(flags.rawValue, at: 0x10)
  }
}

/// DEV_EXTENT, 48 bytes.
package struct DeviceExtent: Sendable, Equatable {
  package var chunkTree: UInt64 = 3
  package var chunkObjectID: UInt64 = 256
  package var chunkOffset: LogicalAddress
  package var length: UInt64
  package var chunkTreeUUID: UUIDBytes

  package static let size = 48

  package init(chunkOffset: LogicalAddress, length: UInt64, chunkTreeUUID: UUIDBytes) {
    self.chunkOffset = chunkOffset
    self.length = length
    self.chunkTreeUUID = chunkTreeUUID
  }

  package init(_ bytes: RawSpan) throws(FilesystemError) {
    guard bytes.byteCount == Self.size else {
      throw .corrupt("a device extent of \(bytes.byteCount) bytes")
    }
    chunkTree = bytes.u64(0)
    chunkObjectID = bytes.u64(8)
    chunkOffset = LogicalAddress(rawValue: bytes.u64(0x10))
    length = bytes.u64(0x18)
    chunkTreeUUID = bytes.uuid(0x20)
  }

  package func encode(into bytes: UnsafeMutableRawBufferPointer) {
    bytes.store(chunkTree, at: 0)
    bytes.store(chunkObjectID, at: 8)
    bytes.store(chunkOffset.rawValue, at: 0x10)
    bytes.store(length, at: 0x18)
    bytes.store(chunkTreeUUID, at: 0x20)
  }
}

/// DEV_ITEM, 98 bytes; also within the superblock.
package struct DeviceItem: Sendable, Equatable {
  package var deviceID: DeviceID
  package var totalBytes: UInt64
  package var bytesUsed: UInt64
  package var ioAlign: UInt32
  package var ioWidth: UInt32
  package var sectorSize: UInt32
  package var type: UInt64 = 0
  package var generation: UInt64 = 0
  package var startOffset: UInt64 = 0
  package var deviceGroup: UInt32 = 0
  package var seekSpeed: UInt8 = 0
  package var bandwidth: UInt8 = 0
  package var uuid: UUIDBytes
  package var fsid: UUIDBytes

  package static let size = 98

  package init(
    deviceID: DeviceID, totalBytes: UInt64, bytesUsed: UInt64, sectorSize: UInt32, uuid: UUIDBytes,
    fsid: UUIDBytes
  ) {
    self.deviceID = deviceID
    self.totalBytes = totalBytes
    self.bytesUsed = bytesUsed
    ioAlign = sectorSize
    ioWidth = sectorSize
    self.sectorSize = sectorSize
    self.uuid = uuid
    self.fsid = fsid
  }

  package init(_ bytes: RawSpan) throws(FilesystemError) {
    guard bytes.byteCount == Self.size else {
      throw .corrupt("a device item of \(bytes.byteCount) bytes")
    }
    deviceID = DeviceID(bytes.u64(0))
    totalBytes = bytes.u64(8)
    bytesUsed = bytes.u64(0x10)
    ioAlign = bytes.u32(0x18)
    ioWidth = bytes.u32(0x1c)
    sectorSize = bytes.u32(0x20)
    type = bytes.u64(0x24)
    generation = bytes.u64(0x2c)
    startOffset = bytes.u64(0x34)
    deviceGroup = bytes.u32(0x3c)
    seekSpeed = bytes.u8(0x40)
    bandwidth = bytes.u8(0x41)
    uuid = bytes.uuid(0x42)
    fsid = bytes.uuid(0x52)
  }

  package func encode(into bytes: UnsafeMutableRawBufferPointer) {
    bytes.store(deviceID.rawValue, at: 0)
    bytes.store(totalBytes, at: 8)
    bytes.store(bytesUsed, at: 0x10)
    bytes.store(ioAlign, at: 0x18)
    bytes.store(ioWidth, at: 0x1c)
    bytes.store(sectorSize, at: 0x20)
    bytes.store(type, at: 0x24)
    bytes.store(generation, at: 0x2c)
    bytes.store(startOffset, at: 0x34)
    bytes.store(deviceGroup, at: 0x3c)
    bytes.store(seekSpeed, at: 0x40)
    bytes.store(bandwidth, at: 0x41)
    bytes.store(uuid, at: 0x42)
    bytes.store(fsid, at: 0x52)
  }
}

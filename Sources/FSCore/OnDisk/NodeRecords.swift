/// The header of every tree block, 101 bytes.
package struct BlockHeader: Sendable {
  package var fsid: UUIDBytes
  package var address: LogicalAddress
  package var flags: UInt64
  package var chunkTreeUUID: UUIDBytes
  package var generation: Generation
  package var owner: TreeID
  package var itemCount: UInt32
  package var level: UInt8

  package static let size = Format.headerSize

  /// WRITTEN, and back reference revision 1 in the top byte: without the latter Linux aborts
  /// when it copies the block.
  package static let normalFlags: UInt64 = 0x0100_0000_0000_0001

  package enum Offset {
    package static let checksum = 0x0
    package static let fsid = 0x20
    package static let address = 0x30
    package static let flags = 0x38
    package static let chunkTreeUUID = 0x40
    package static let generation = 0x50
    package static let owner = 0x58
    package static let itemCount = 0x60
    package static let level = 0x64
  }

  package init(
    fsid: UUIDBytes, address: LogicalAddress, chunkTreeUUID: UUIDBytes, generation: Generation,
    owner: TreeID, level: UInt8
  ) {
    self.fsid = fsid
    self.address = address
    self.flags = Self.normalFlags
    self.chunkTreeUUID = chunkTreeUUID
    self.generation = generation
    self.owner = owner
    self.itemCount = 0
    self.level = level
  }

  package init(_ bytes: RawSpan) {
    fsid = bytes.uuid(Offset.fsid)
    address = LogicalAddress(rawValue: bytes.u64(Offset.address))
    flags = bytes.u64(Offset.flags)
    chunkTreeUUID = bytes.uuid(Offset.chunkTreeUUID)
    generation = Generation(rawValue: bytes.u64(Offset.generation))
    owner = TreeID(rawValue: bytes.u64(Offset.owner))
    itemCount = bytes.u32(Offset.itemCount)
    level = bytes.u8(Offset.level)
  }

  package func encode(into bytes: UnsafeMutableRawBufferPointer) {
    bytes.store(fsid, at: Offset.fsid)
    bytes.store(address.rawValue, at: Offset.address)
    bytes.store(flags, at: Offset.flags)
    bytes.store(chunkTreeUUID, at: Offset.chunkTreeUUID)
    bytes.store(generation.rawValue, at: Offset.generation)
    bytes.store(owner.rawValue, at: Offset.owner)
    bytes.store(itemCount, at: Offset.itemCount)
    bytes.store(level, at: Offset.level)
  }
}

/// One child of an internal node, 33 bytes.
package struct KeyPointer: Sendable {
  package var key: Key
  package var address: LogicalAddress
  package var generation: Generation

  package static let size = Format.keyPointerSize

  package init(key: Key, address: LogicalAddress, generation: Generation) {
    self.key = key
    self.address = address
    self.generation = generation
  }
}

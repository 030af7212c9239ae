@testable import FSCore

/// Leaves that hold at least one item of every kind that the validation knows, all of them right.
enum ValidationFixture {
  static let geometry = Geometry(
    nodeSize: 16384, sectorSize: 4096, checksumType: .crc32c, fsid: .random(),
    chunkTreeUUID: .random(), features: [.skinnyMetadata, .noHoles])
  static let address: LogicalAddress = 1_048_576
  static let generation: Generation = 20

  typealias Item = (key: Key, data: [UInt8])

  static func block(_ tree: TreeID, _ items: [Item]) -> AlignedBuffer {
    var leaf = LeafBuilder(owner: tree)
    for item in items { leaf.add(item.key, size: item.data.count) { $0.store(item.data, at: 0) } }
    return leaf.block(at: address, geometry: geometry, generation: generation)
  }

  /// Throws when the block breaks a rule.
  static func check(_ block: AlignedBuffer) throws(FilesystemError) {
    try BlockValidation.check(
      block.readable, geometry: geometry, address: address, superGeneration: generation)
  }

  static let trees: [(tree: TreeID, items: [Item])] = [
    (.topLevel, files), (.extent, extents), (.chunk, chunks), (.device, deviceExtents),
    (.root, roots), (.checksum, checksums),
  ]

  static func encoded(_ size: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: size)
    bytes.withUnsafeMutableBytes { fill($0) }
    return bytes
  }

  static func inode(mode: UInt32) -> [UInt8] {
    let item = InodeItem(
      generation: 7, mode: mode, uid: 0, gid: 0, now: Timestamp(seconds: 1, nanoseconds: 2))
    return encoded(InodeItem.size) { item.encode(into: $0) }
  }

  static func entry(_ name: String, _ type: EntryType, _ location: Key) -> [UInt8] {
    let value: [UInt8] = type == .extendedAttribute ? [1, 2, 3] : []
    let entry = DirectoryEntry(
      location: location, transactionID: 7, type: type, name: Array(name.utf8), value: value)
    return encoded(entry.size) { entry.encode(into: $0) }
  }

  static func reference(_ fixedSize: Int, _ name: String) -> [UInt8] {
    encoded(fixedSize + name.utf8.count) {
      $0.store(UInt16(name.utf8.count), at: fixedSize - 2)
      $0.store(Array(name.utf8), at: fixedSize)
    }
  }

  static func fileExtent(_ kind: FileExtentItem.Kind, _ address: LogicalAddress) -> [UInt8] {
    let item = FileExtentItem(
      generation: 7, kind: kind, diskAddress: address, diskLength: 8192, ramBytes: 8192, offset: 0,
      length: 8192)
    return encoded(FileExtentItem.size) { item.encode(into: $0) }
  }

  static func hash(_ name: String) -> UInt64 { FormatHash.name(Array(name.utf8)) }

  static let files: [Item] = [
    (Key(256, .inodeItem, 0), inode(mode: 0o040755)),
    (Key(256, .inodeRef, 256), reference(10, "..")),
    (Key(256, .dirItem, hash("a")), entry("a", .regular, Key(257, .inodeItem, 0))),
    (Key(256, .dirIndex, 2), entry("a", .regular, Key(257, .inodeItem, 0))),
    (Key(257, .inodeItem, 0), inode(mode: 0o100644)),
    (Key(257, .inodeRef, 256), reference(10, "a")),
    (Key(257, .inodeExtref, 99), reference(18, "long")),
    (Key(257, .xattrItem, hash("user.x")), entry("user.x", .extendedAttribute, .zero)),
    (Key(257, .extentData, 0), fileExtent(.regular, 1_048_576)),
    (Key(257, .extentData, 8192), fileExtent(.preallocated, 2_097_152)),
    (Key(258, .inodeItem, 0), inode(mode: 0o120777)),
    (
      Key(258, .extentData, 0),
      encoded(26) {
        $0.store(UInt64(7), at: 0)
        $0.store(UInt64(5), at: 8)
      }
    ),
  ]

  /// An extent item with the references that are given as types and the bytes that follow.
  static func extent(flags: UInt64, references: UInt64, _ inline: [(UInt8, [UInt8])]) -> [UInt8] {
    let head = encoded(24) {
      $0.store(references, at: 0)
      $0.store(UInt64(7), at: 8)
      $0.store(flags, at: 16)
    }
    return inline.reduce(head) { $0 + [$1.0] + $1.1 }
  }

  static func dataReference(inode: UInt64, count: UInt32) -> [UInt8] {
    encoded(28) {
      $0.store(UInt64(5), at: 0)
      $0.store(inode, at: 8)
      $0.store(UInt64(4096), at: 16)
      $0.store(count, at: 24)
    }
  }

  static func number(_ value: UInt64) -> [UInt8] { encoded(8) { $0.store(value, at: 0) } }

  /// Two inodes, in the order in which references to them stand in an extent item.
  static let inodesByHash: [UInt64] = [300, 301].sorted {
    FormatHash.dataReference(root: 5, inode: ObjectID($0), offset: 4096)
      > FormatHash.dataReference(root: 5, inode: ObjectID($1), offset: 4096)
  }

  static let extents: [Item] = [
    (
      Key(1_048_576, .extentItem, 8192),
      extent(
        flags: 1, references: 4,
        [
          (178, dataReference(inode: inodesByHash[0], count: 1)),
          (178, dataReference(inode: inodesByHash[1], count: 1)),
          (184, number(65536) + [1, 0, 0, 0]),
        ])
    ),
    (Key(1_048_576, .extentDataRef, 77), dataReference(inode: 310, count: 1)),
    (Key(1_048_576, .sharedDataRef, 65536), [1, 0, 0, 0]),
    (Key(1_048_576, .blockGroupItem, 8 << 20), blockGroup),
    (
      Key(2_097_152, .metadataItem, 1),
      extent(
        flags: 2, references: 4,
        [(176, number(257)), (176, number(5)), (182, number(131072)), (182, number(65536))])
    ),
    (Key(2_097_152, .treeBlockRef, 258), []),
    (Key(2_097_152, .sharedBlockRef, 16384), []),
  ]

  static let blockGroup = encoded(BlockGroupItem.size) {
    BlockGroupItem(used: 24576, flags: [.data, .metadata]).encode(into: $0)
  }

  static let chunks: [Item] = [
    (
      Key(.devItems, .devItem, 1),
      encoded(DeviceItem.size) {
        DeviceItem(
          deviceID: 1, totalBytes: 1 << 30, bytesUsed: 1 << 20, sectorSize: 4096, uuid: .zero,
          fsid: .zero
        ).encode(into: $0)
      }
    ),
    (
      Key(.firstChunkTree, .chunkItem, 1 << 20),
      encoded(112) {
        let stripes = [1, 2].map {
          ChunkItem.Stripe(
            deviceID: 1, offset: PhysicalAddress(UInt64($0) << 23), deviceUUID: .zero)
        }
        ChunkItem(
          length: 8 << 20, flags: [.metadata, .dup], sectorSize: 4096, stripes: stripes
        ).encode(into: $0)
      }
    ),
  ]

  static let deviceExtents: [Item] = [1, 2].map { index in
    (
      Key(1, .devExtent, UInt64(index) << 23),
      encoded(DeviceExtent.size) {
        DeviceExtent(chunkOffset: 1_048_576, length: 8 << 20, chunkTreeUUID: .zero)
          .encode(into: $0)
      }
    )
  }

  static let roots: [Item] = [
    (Key(5, .rootItem, 0), root),
    (Key(5, .rootRef, 257), reference(18, "sub")),
    (Key(256, .inodeItem, 0), inode(mode: 0o100600)),
    (Key(256, .extentData, 0), fileExtent(.regular, 1_048_576)),
    (Key(257, .rootItem, 12), root),
    (Key(257, .rootBackref, 5), reference(18, "sub")),
    (Key(.freeSpace, .untyped, 1 << 20), [UInt8](repeating: 0, count: FreeSpaceHeader.size)),
  ]

  static let root = encoded(RootItem.size) {
    RootItem(address: 1_048_576, level: 1, generation: 9, nodeSize: 16384).encode(into: $0)
  }

  static let checksums: [Item] = [
    (Key(.extentChecksum, .extentCsum, 1 << 20), [UInt8](repeating: 1, count: 16)),
    (Key(.extentChecksum, .extentCsum, (1 << 20) + 16384), [UInt8](repeating: 1, count: 4)),
  ]
}

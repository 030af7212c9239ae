@testable import FSCore

/// Finds the numbers that an image consists of, and puts others in their place, under checksums
/// that are right: what no accident does.
struct FieldForge {
  /// One number: where the copies of its block are, and where it stands in the block.
  struct Field {
    let name: String
    let places: [PhysicalAddress]
    let blockSize: Int
    let offset: Int
    let size: Int
    let value: UInt64
  }

  let image: MemoryDevice
  private(set) var fields: [Field] = []

  /// - Parameter image: is not changed.
  init(_ image: MemoryDevice) throws {
    self.image = image
    try addSuperblock()
    let reader = try ImageReader(device: image)
    var roots = [reader.rootOfRootTree, reader.rootOfChunkTree]
    for tree: TreeID in [
      .extent, .device, .topLevel, .checksum, .uuid, .dataRelocation, .freeSpace, .blockGroup,
    ] {
      if let root = try? reader.root(of: tree) { roots.append(root) }
    }
    for root in roots {
      try reader.walkBlocks(root) { (pointer, block) throws(FilesystemError) in
        try addBlock(pointer, block, reader)
        return true
      }
    }
  }

  private mutating func addSuperblock() throws {
    let buffer = AlignedBuffer(count: Superblock.size)
    let place = PhysicalAddress(Format.superblockOffsets[0])
    try image.read(into: buffer.bytes, at: place)
    add("superblock", [place], buffer.readable, at: 0, Self.superblockFields)
    add("superblock device", [place], buffer.readable, at: 0xc9, Self.deviceFields)
    add("superblock chunk key", [place], buffer.readable, at: 0x32b, [(0, 8), (9, 8)])
    add("superblock chunk", [place], buffer.readable, at: 0x32b + 17, Self.chunkFields)
  }

  private mutating func addBlock(
    _ pointer: BlockPointer, _ block: UnsafeRawBufferPointer, _ reader: ImageReader
  ) throws(FilesystemError) {
    var places: [PhysicalAddress] = []
    for copy in 0..<(try reader.device.copies(at: pointer.address)) {
      places.append(
        try reader.device.locate(pointer.address, length: block.count, copy: copy).offset)
    }
    let name = "tree \(Int64(bitPattern: pointer.tree.rawValue))"
    add("\(name) header", places, block, at: 0, [(0x30, 8), (0x50, 8), (0x58, 8), (0x60, 4)])
    let count = Int(block.u32(BlockHeader.Offset.itemCount))
    for slot in 0..<count {
      guard pointer.level == 0 else {
        let at = Format.headerSize + slot * Format.keyPointerSize
        add("\(name) pointer", places, block, at: at, [(0, 8), (9, 8), (17, 8), (25, 8)])
        continue
      }
      let at = Format.headerSize + slot * Format.itemHeaderSize
      let type = ItemType(block.u8(at + 8))
      let object = ItemText.object(ObjectID(block.u64(at)))
      let what = "\(name) \(ItemText.type(type)) \(object) slot \(slot)"
      add("\(what) key", places, block, at: at, [(0, 8), (9, 8), (17, 4), (21, 4)])
      let start = Format.headerSize + Int(block.u32(at + 17))
      let size = Int(block.u32(at + 21))
      let known = Self.itemFields[type.rawValue] ?? []
      add(what, places, block, at: start, known.filter { $0.0 + $0.1 <= size })
    }
  }

  private mutating func add(
    _ name: String, _ places: [PhysicalAddress], _ block: UnsafeRawBufferPointer, at start: Int,
    _ offsets: [(Int, Int)]
  ) {
    for (offset, size) in offsets {
      let value = (0..<size).reduce(UInt64(0)) {
        $0 | UInt64(block.u8(start + offset + $1)) << (8 * UInt64($1))
      }
      fields.append(
        Field(
          name: "\(name) + 0x\(String(offset, radix: 16))", places: places,
          blockSize: block.count, offset: start + offset, size: size, value: value))
    }
  }

  /// Numbers at which sums and roundings overflow or lengths change their sign.
  func values(for field: Field) -> [UInt64] {
    let old = field.value
    let candidates: [UInt64] = [
      0, 1, 4096, old &+ 1, old &+ 4096, old &- 4096, old &* 2, 0 &- old, 1 << 31, 1 << 40,
      1 << 62, (1 << 63) - 4096, 1 << 63, .max - 65535, .max - 4095, .max - 255, .max - 1, .max,
      old | 1 << 63, old | 1 << 33,
    ]
    let mask: UInt64 = field.size == 8 ? .max : (1 << (8 * UInt64(field.size))) - 1
    var seen: Set<UInt64> = [old]
    return candidates.map { $0 & mask }.filter { seen.insert($0).inserted }
  }

  /// A copy of the image in which each field is the number beside it, in all copies of its block.
  func forged(_ changes: [(field: Field, value: UInt64)]) throws -> MemoryDevice {
    let device = image.copy()
    for change in changes { try Self.put(change.value, into: change.field, of: device) }
    return device
  }

  private static func put(
    _ value: UInt64, into field: Field, of device: MemoryDevice
  ) throws {
    let buffer = AlignedBuffer(count: field.blockSize)
    for place in field.places {
      try device.read(into: buffer.bytes, at: place)
      for index in 0..<field.size {
        buffer.bytes.store(
          UInt8(truncatingIfNeeded: value >> (8 * UInt64(index))), at: field.offset + index)
      }
      ChecksumType.crc32c.seal(buffer.bytes)
      try device.write(buffer.readable, at: place)
    }
  }

  /// The first field whose name begins and ends like this.
  func field(_ name: String, _ end: String = "") throws -> Field {
    guard let field = fields.first(where: { $0.name.hasPrefix(name) && $0.name.hasSuffix(end) })
    else {
      throw FilesystemError.invalidArgument("no field \(name)")
    }
    return field
  }

  private static let superblockFields: [(Int, Int)] =
    [
      0x38, 0x48, 0x50, 0x58, 0x60, 0x68, 0x70, 0x78, 0x80, 0x88, 0xa4, 0xac, 0xb4, 0xbc, 0x22b,
      0x233,
    ].map { ($0, 8) }
    + [0x90, 0x94, 0x98, 0x9c, 0xa0].map { ($0, 4) } + [(0xc4, 2), (0xc6, 1), (0xc7, 1), (0xc8, 1)]
  private static let deviceFields: [(Int, Int)] =
    [0, 8, 0x10, 0x24, 0x2c, 0x34].map { ($0, 8) } + [0x18, 0x1c, 0x20].map { ($0, 4) }
  private static let chunkFields: [(Int, Int)] =
    [0, 8, 0x10, 0x18, 0x30, 0x38, 0x50, 0x58].map { ($0, 8) }
    + [0x20, 0x24, 0x28].map { ($0, 4) } + [(0x2c, 2), (0x2e, 2)]

  private static let itemFields: [UInt8: [(Int, Int)]] = [
    ItemType.inodeItem.rawValue:
      [0, 8, 0x10, 0x18, 0x20, 0x38, 0x40, 0x48, 0x70, 0x7c, 0x88, 0x94].map { ($0, 8) }
      + [0x28, 0x2c, 0x30, 0x34, 0x78].map { ($0, 4) },
    ItemType.inodeRef.rawValue: [(0, 8), (8, 2)],
    ItemType.dirItem.rawValue: [(0, 8), (9, 8), (17, 8), (25, 2), (27, 2), (29, 1)],
    ItemType.dirIndex.rawValue: [(0, 8), (9, 8), (17, 8), (25, 2), (27, 2), (29, 1)],
    ItemType.extentData.rawValue: [
      (0, 8), (8, 8), (0x10, 1), (0x14, 1), (0x15, 8), (0x1d, 8), (0x25, 8), (0x2d, 8),
    ],
    ItemType.rootItem.rawValue:
      [0x10, 0x18, 0xa0, 0xa8, 0xb0, 0xb8, 0xc0, 0xc8, 0xd0, 0xef, 0x127, 0x147].map { ($0, 8) }
      + [(0xd8, 4), (0xed, 1), (0xee, 1)],
    ItemType.extentItem.rawValue: [
      (0, 8), (8, 8), (0x10, 8), (0x18, 1), (0x19, 8), (0x21, 8), (0x29, 8), (0x31, 4),
    ],
    ItemType.metadataItem.rawValue: [(0, 8), (8, 8), (0x10, 8), (0x18, 1), (0x19, 8)],
    ItemType.blockGroupItem.rawValue: [(0, 8), (8, 8), (0x10, 8)],
    ItemType.freeSpaceInfo.rawValue: [(0, 4), (4, 4)],
    ItemType.freeSpaceBitmap.rawValue: [(0, 8), (1, 1), (8, 8), (0x80, 8), (0xf8, 8), (0xff, 1)],
    ItemType.devExtent.rawValue: [(0, 8), (8, 8), (0x10, 8), (0x18, 8)],
    ItemType.devItem.rawValue: deviceFields,
    ItemType.chunkItem.rawValue: chunkFields,
    ItemType.untyped.rawValue: [(0, 8), (9, 8), (17, 8), (25, 8), (33, 8)],
  ]
}

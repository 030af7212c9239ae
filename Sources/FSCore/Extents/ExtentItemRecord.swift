/// An EXTENT_ITEM or METADATA_ITEM of the extent tree: how often an extent is referenced, and
/// by whom as far as that stands in the item itself.
///
/// Layout: references u64, generation u64, flags u64; for a tree block under an EXTENT_ITEM a
/// key and a level (tree_block_info); then the inline references to the item's end.
///
/// Invariants:
/// 1. Inline references are sorted by type ascending, within a type by sequence descending.
/// 2. Each identity stands in the item once, and its count is not zero.
/// 3. The inline counts add up to at most `references`; what is missing stands in keyed items.
struct ExtentItemRecord: Equatable, Sendable {
  struct Flags: OptionSet, Sendable {
    let rawValue: UInt64

    static let data = Flags(rawValue: 1)
    static let treeBlock = Flags(rawValue: 2)
    /// What the block points to names the block itself, not its owner.
    static let fullBackref = Flags(rawValue: 0x100)
  }

  struct TreeBlockInfo: Equatable, Sendable {
    /// The first key of the block when it was allocated: a hint that nobody relies on.
    var key: Key
    var level: UInt8

    static let size = Key.size + 1
  }

  struct InlineReference: Equatable, Sendable {
    let identity: ReferenceIdentity
    let sequence: UInt64
    var count: UInt32
  }

  /// All references, inline and keyed.
  var references: UInt64
  /// The transaction that allocated the extent.
  let generation: Generation
  var flags: Flags
  /// Nil for data, and for a tree block under a METADATA_ITEM, whose key has the level.
  let treeBlockInfo: TreeBlockInfo?
  var inlineReferences: [InlineReference]

  static let headerSize = 24

  /// An extent that nothing refers to yet.
  init(_ kind: ExtentKind, generation: Generation, isSkinny: Bool) {
    references = 0
    self.generation = generation
    inlineReferences = []
    switch kind {
    case .data:
      flags = .data
      treeBlockInfo = nil
    case .treeBlock(let level):
      flags = .treeBlock
      treeBlockInfo = isSkinny ? nil : TreeBlockInfo(key: .zero, level: level)
    }
  }

  var isTreeBlock: Bool { flags.contains(.treeBlock) }

  /// How many references stand in the item itself.
  var inlineCount: UInt64 { inlineReferences.reduce(0) { $0 + UInt64($1.count) } }

  /// How many references stand in items of their own.
  var keyedCount: UInt64 { references - inlineCount }

  var encodedSize: Int {
    Self.headerSize + (treeBlockInfo == nil ? 0 : TreeBlockInfo.size)
      + inlineReferences.reduce(0) { $0 + $1.identity.inlineSize }
  }
}

extension ExtentItemRecord {
  /// Reads an item whose key has `type`. Throws `.corrupt` unless all invariants hold.
  init(_ bytes: RawSpan, type: ItemType) throws(FilesystemError) {
    guard bytes.byteCount >= Self.headerSize else {
      throw .corrupt("an extent item of \(bytes.byteCount) bytes")
    }
    references = bytes.u64(0)
    generation = Generation(rawValue: bytes.u64(8))
    flags = Flags(rawValue: bytes.u64(16))
    inlineReferences = []

    switch flags {
    case .data where type == .extentItem: break
    case .treeBlock, [.treeBlock, .fullBackref]: break
    default: throw .corrupt("an extent item with flags \(flags.rawValue)")
    }

    var position = Self.headerSize
    if flags.contains(.treeBlock) && type == .extentItem {
      guard bytes.byteCount >= position + TreeBlockInfo.size else {
        throw .corrupt("an extent item of \(bytes.byteCount) bytes for a tree block")
      }
      treeBlockInfo = TreeBlockInfo(
        key: Key(bytes, at: position), level: bytes.u8(position + Key.size))
      position += TreeBlockInfo.size
    } else {
      treeBlockInfo = nil
    }
    try decodeInlineReferences(bytes, from: position)
  }

  private mutating func decodeInlineReferences(
    _ bytes: RawSpan, from start: Int
  ) throws(FilesystemError) {
    var position = start
    var total: UInt64 = 0
    var last: (type: ItemType, sequence: UInt64)?

    while position < bytes.byteCount {
      let type = ItemType(bytes.u8(position))
      let (identity, count) = try Self.inlineReference(
        type, bytes.extracting((position + 1)..<bytes.byteCount))
      guard identity.isData != isTreeBlock else {
        throw .corrupt("an extent item with a reference of type \(type.rawValue)")
      }
      guard count > 0 else { throw .corrupt("an extent's reference with count 0") }

      let sequence = identity.sequence
      if let last {
        guard type > last.type || (type == last.type && sequence <= last.sequence) else {
          throw .corrupt("an extent's references are out of order")
        }
        if type == last.type && sequence == last.sequence {
          guard !inlineReferences.contains(where: { $0.identity == identity }) else {
            throw .corrupt("an extent item names one reference twice")
          }
        }
      }
      last = (type, sequence)

      // An item has fewer than 2^16 bytes: the sum of its 32-bit counts cannot overflow.
      total += UInt64(count)
      inlineReferences.append(
        InlineReference(identity: identity, sequence: sequence, count: count))
      position += identity.inlineSize
    }

    guard total <= references else {
      throw .corrupt("an extent with \(references) references names \(total)")
    }
  }

  /// The reference of `type` whose bytes after the type begin `bytes`.
  private static func inlineReference(
    _ type: ItemType, _ bytes: RawSpan
  ) throws(FilesystemError) -> (ReferenceIdentity, count: UInt32) {
    let size =
      switch type {
      case .treeBlockRef, .sharedBlockRef: 8
      case .extentDataRef: ExtentDataReference.size
      case .sharedDataRef: 12
      default: throw .corrupt("an extent item with a reference of type \(type.rawValue)")
      }
    guard bytes.byteCount >= size else { throw .corrupt("an extent's reference is cut off") }

    switch type {
    case .treeBlockRef: return (.treeBlock(root: TreeID(rawValue: bytes.u64(0))), 1)
    case .sharedBlockRef: return (.sharedBlock(parent: LogicalAddress(bytes.u64(0))), 1)
    case .sharedDataRef:
      return (.sharedData(parent: LogicalAddress(bytes.u64(0))), bytes.u32(8))
    default:
      let reference = ExtentDataReference(bytes)
      return (reference.identity, reference.count)
    }
  }

  /// Writes the item. Traps unless `bytes` has exactly `encodedSize`.
  func encode(into bytes: UnsafeMutableRawBufferPointer) {
    precondition(bytes.count == encodedSize)
    bytes.store(references, at: 0)
    bytes.store(generation.rawValue, at: 8)
    bytes.store(flags.rawValue, at: 16)
    var position = Self.headerSize
    if let info = treeBlockInfo {
      info.key.encode(into: bytes, at: position)
      bytes.store(info.level, at: position + Key.size)
      position += TreeBlockInfo.size
    }

    for reference in inlineReferences {
      bytes.store(reference.identity.itemType.rawValue, at: position)
      switch reference.identity {
      case .treeBlock(let root): bytes.store(root.rawValue, at: position + 1)
      case .sharedBlock(let parent): bytes.store(parent.rawValue, at: position + 1)
      case .sharedData(let parent):
        bytes.store(parent.rawValue, at: position + 1)
        bytes.store(reference.count, at: position + 9)
      case .data(let root, let inode, let offset):
        ExtentDataReference(root: root, inode: inode, offset: offset, count: reference.count)
          .encode(into: bytes.part(position + 1, ExtentDataReference.size))
      }
      position += reference.identity.inlineSize
    }
  }
}

/// extent_data_ref: a data reference, inline after its type or an item of its own.
struct ExtentDataReference: Equatable, Sendable {
  var root: TreeID
  var inode: ObjectID
  var offset: UInt64
  var count: UInt32

  static let size = 28

  init(root: TreeID, inode: ObjectID, offset: UInt64, count: UInt32) {
    self.root = root
    self.inode = inode
    self.offset = offset
    self.count = count
  }

  /// Traps when `bytes` are fewer than `size`.
  init(_ bytes: RawSpan) {
    root = TreeID(rawValue: bytes.u64(0))
    inode = ObjectID(rawValue: bytes.u64(8))
    offset = bytes.u64(16)
    count = bytes.u32(24)
  }

  var identity: ReferenceIdentity { .data(root: root, inode: inode, offset: offset) }

  func encode(into bytes: UnsafeMutableRawBufferPointer) {
    bytes.store(root.rawValue, at: 0)
    bytes.store(inode.rawValue, at: 8)
    bytes.store(offset, at: 16)
    bytes.store(count, at: 24)
  }
}

import FreeSpace
import TestSupport
import Testing

@testable import FSCore

/// Free space trees of which blocks are wrong: no mount fails, the record is made anew by the first
/// commit that can, and nothing of the old one is left.
@Suite(.timeLimit(.minutes(5))) struct DisbelievedTreeTests {
  enum Fault: CaseIterable, Sendable {
    case checksum, owner, order, generation, level, emptyNode, place

    /// Makes the block wrong; all but the first under a right checksum.
    func apply(to block: AlignedBuffer, _ reader: ImageReader) {
      let offset = BlockHeader.Offset.self
      switch self {
      case .checksum: block.bytes[150] ^= 1
      case .owner: block.bytes.store(TreeID.checksum.rawValue, at: offset.owner)
      case .order:
        // The first key is above the second.
        block.bytes.store(UInt64.max, at: Format.headerSize)
      case .generation: block.bytes.store(UInt64.max / 2, at: offset.generation)
      case .level: block.bytes[offset.level] ^= 3
      case .emptyNode: block.bytes.store(UInt32.max, at: offset.itemCount)
      case .place: block.bytes.store(UInt64(4096), at: offset.address)
      }
      if self != .checksum { reader.geometry.checksumType.seal(block.bytes) }
    }
  }

  struct Variant: Sendable, CustomTestStringConvertible {
    var nodeSize: UInt64
    var isSingle = false
    var hasBlockGroupTree = false
    var testDescription: String {
      "\(nodeSize), \(isSingle ? "single" : "dup")\(hasBlockGroupTree ? ", block group tree" : "")"
    }
  }

  static let variants = [
    Variant(nodeSize: 16384), Variant(nodeSize: 4096, isSingle: true),
    Variant(nodeSize: 16384, hasBlockGroupTree: true),
  ]

  private static func makeImage(_ variant: Variant) throws -> MemoryDevice {
    // In a large group more ranges stand as extents.
    let size: UInt64 = variant.nodeSize == 4096 ? 12 << 30 : 2 << 30
    let device = try TestImage.make(sizeBytes: size) { options in
      options.nodeSize = variant.nodeSize
      if variant.isSingle { options.metadata = .single }
      options.spaceRecord = .v2
      options.hasBlockGroupTree = variant.hasBlockGroupTree
    }
    let volume = try Volume.mountForTest(device)
    var work = SpaceWorkload(volume, seed: 5)
    for _ in 0..<60 { try work.step() }
    try volume.writeBytes(
      volume.makeFile("/large"), at: 0, [UInt8](repeating: 1, count: 9 << 20))
    try volume.fragment("/fragments", holes: 900)
    try volume.unmount()
    return device
  }

  private static let images = variants.map { variant in Result { try makeImage(variant) } }

  private static func blocks(
    of tree: TreeID, _ reader: ImageReader
  ) throws -> [(pointer: BlockPointer, block: AlignedBuffer)] {
    var blocks: [(pointer: BlockPointer, block: AlignedBuffer)] = []
    try reader.walkBlocks(reader.root(of: tree)) { (pointer, bytes) throws(FilesystemError) in
      let copy = AlignedBuffer(count: bytes.count)
      copy.bytes.store(bytes, at: 0)
      blocks.append((pointer, copy))
      return true
    }
    return blocks
  }

  private static func state(_ device: any BlockDevice) throws -> [String] {
    let volume = try Volume.mountForTest(device) { $0.readOnly = true }
    defer { try? volume.unmount() }
    return try volume.stateLines()
  }

  /// Reads, works, and commits on an image whose tree is wrong somewhere.
  private static func expectRight(
    _ device: MemoryDevice, _ before: [String], _ what: Comment, isChecked: Bool
  ) throws {
    // Read-only nobody needs the tree.
    #expect(try state(device) == before, what)

    let volume = try Volume.mountForTest(device)
    #expect(!volume.isReadOnly, what)
    for group in volume.space.groups.all { volume.space.loader.load(group) }
    #expect(volume.space.groups.all.allSatisfy { $0.loading == .loaded }, what)
    try volume.makeFile("/one")
    try volume.synchronizeAll()
    try FreeSpaceTreeJudge.judge(device.copy(), what)
    var work = SpaceWorkload(volume, seed: 6)
    for _ in 0..<12 { try work.step() }
    for path in Array(work.files.values) + ["/one"] { try volume.remove(path) }
    try volume.unmount()
    try FreeSpaceTreeJudge.judge(device, what)
    #expect(try state(device) == before, what)
    if isChecked { try CacheJudge.check(device) }
  }

  /// Every node, and one leaf, in turn.
  @Test(arguments: 0..<3, Fault.allCases)
  func aWrongBlock(variant: Int, fault: Fault) throws {
    // With a block group tree nothing is different but what Linux demands.
    if Self.variants[variant].hasBlockGroupTree, fault != .checksum { return }
    let base = try Self.images[variant].get()
    let before = try Self.state(base)
    let all = try Self.blocks(of: .freeSpace, ImageReader(device: base))
    if Self.variants[variant].nodeSize == 4096 { #expect(all[0].pointer.level > 0) }
    for (number, found) in all.enumerated()
    where found.pointer.level > 0 || number == all.count / 2 {
      let device = base.copy()
      let reader = try ImageReader(device: device)
      let block = AlignedBuffer(count: found.block.count)
      block.bytes.store(found.block.readable, at: 0)
      fault.apply(to: block, reader)
      try reader.device.write(block.readable, at: found.pointer.address)
      let what: Comment = "block \(number) of level \(found.pointer.level): \(fault)"
      try Self.expectRight(
        device, before, what, isChecked: number == 0 && [.checksum, .order].contains(fault))
    }
  }

  /// A pointer of a node leads to a block of another tree, whose own the checksum is.
  @Test(arguments: [TreeID.topLevel, .extent, .freeSpace])
  func aPointerToAnotherBlock(tree: TreeID) throws {
    let base = try Self.images[1].get()
    let before = try Self.state(base)
    let device = base.copy()
    let reader = try ImageReader(device: device)
    let node = try #require(Self.blocks(of: .freeSpace, reader).first { $0.pointer.level == 1 })
    let target = try #require(Self.blocks(of: tree, reader).last { $0.pointer.level == 0 })
    let at = Format.headerSize + Format.keyPointerSize + Key.size
    node.block.bytes.store(target.pointer.address.rawValue, at: at)
    node.block.bytes.store(target.block.readable.u64(BlockHeader.Offset.generation), at: at + 8)
    reader.geometry.checksumType.seal(node.block.bytes)
    try reader.device.write(node.block.readable, at: node.pointer.address)
    try Self.expectRight(device, before, "a pointer to tree \(tree)", isChecked: true)
  }

  /// Items that stand in a leaf behind the first key of the next one: a walk does not see them, a
  /// search does.
  @Test func overlappingLeaves() throws {
    let base = try Self.images[1].get()
    let before = try Self.state(base)
    let leaves = try Self.blocks(of: .freeSpace, ImageReader(device: base)).filter {
      $0.pointer.level == 0
    }
    #expect(leaves.count > 3)
    for leaf in leaves {
      let device = base.copy()
      let reader = try ImageReader(device: device)
      let count = Int(leaf.block.readable.u32(BlockHeader.Offset.itemCount))
      let block = AlignedBuffer(count: leaf.block.count)
      block.bytes.store(leaf.block.readable, at: 0)
      // The last item moves far behind its place.
      let at = Format.headerSize + (count - 1) * Format.itemHeaderSize
      block.bytes.store(block.readable.u64(at) + (3 << 20), at: at)
      reader.geometry.checksumType.seal(block.bytes)
      try reader.device.write(block.readable, at: leaf.pointer.address)
      try Self.expectRight(
        device, before, "leaf \(leaf.pointer.address)",
        isChecked: leaf.pointer.address == leaves[0].pointer.address
      )
    }
  }

  /// Changing to another record, too, leaves nothing of a tree that cannot be read.
  @Test(arguments: [VolumeOptions.SpaceCache.v1, .none])
  func changingFromAnUnreadableTree(to record: VolumeOptions.SpaceCache) throws {
    for index in 0..<2 {
      let device = try Self.images[index].get().copy()
      let before = try Self.state(device)
      let reader = try ImageReader(device: device)
      let root = try Self.blocks(of: .freeSpace, reader)[0]
      Fault.checksum.apply(to: root.block, reader)
      try reader.device.write(root.block.readable, at: root.pointer.address)
      let volume = try Volume.mountForTest(device) { $0.spaceCache = record }
      try FreeSpaceTreeJudge.expectNoTree(device.copy())
      try volume.unmount()
      #expect(try Self.state(device) == before)
      try CacheJudge.check(device)
    }
  }

  /// The extent tree says of a block of another tree that it is one of the free space tree's: it is
  /// not taken for one, and stays.
  @Test func aBlockOfAnotherTreeIsKept() throws {
    let device = try Self.images[0].get().copy()
    let reader = try ImageReader(device: device)
    let victim = try Self.blocks(of: .checksum, reader)[0].pointer.address
    for leaf in try Self.blocks(of: .extent, reader) where leaf.pointer.level == 0 {
      for slot in 0..<Int(leaf.block.readable.u32(BlockHeader.Offset.itemCount)) {
        let at = Format.headerSize + slot * Format.itemHeaderSize
        guard leaf.block.readable.u64(at) == victim.rawValue,
          leaf.block.readable.u8(at + 8) == ItemType.metadataItem.rawValue
        else { continue }
        let start = Format.headerSize + Int(leaf.block.readable.u32(at + 17))
        leaf.block.bytes.store(TreeID.freeSpace.rawValue, at: start + 25)
        reader.geometry.checksumType.seal(leaf.block.bytes)
        try reader.device.write(leaf.block.readable, at: leaf.pointer.address)
      }
    }
    let volume = try Volume.mountForTest(device) { $0.clearCache = true }
    let scan = TreeBlockScan(space: volume.space, trees: volume.trees)
    let found = try scan.blocks(of: .freeSpace)
    #expect(!found.isEmpty && !found.contains { $0.address == victim })
    #expect(try volume.space.groups.group(containing: victim).isInUse(victim))
    try volume.unmount()
  }
}

extension BlockGroup {
  /// Whether the address is neither free nor pinned.
  fileprivate func isInUse(_ address: LogicalAddress) throws -> Bool {
    guard let index = try takePicture()?.combined() else { return false }
    return !index.isFree(offset: address.rawValue, length: 4096)
  }
}

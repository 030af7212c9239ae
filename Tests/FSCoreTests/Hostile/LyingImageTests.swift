import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// Images whose structures contradict each other, or say what they should not, and what becomes of
/// them: read as far as that is safe, and not written.
@Suite(.timeLimit(.minutes(10))) struct LyingImageTests {
  private static func image(
    _ configure: (inout MakeFilesystem.Options) -> Void = { _ in }
  ) throws -> MemoryDevice {
    let device = try TestImage.make(sizeBytes: 256 << 20, configure)
    let volume = try Volume.mountForTest(device)
    try volume.writeBytes(try volume.makeFile("old"), at: 0, [UInt8](repeating: 5, count: 9000))
    try volume.unmount()
    return device
  }

  /// Changes the trees of an image in a transaction, past all that a volume would allow.
  private static func change(
    _ device: MemoryDevice,
    _ body: (Trees, borrowing TransactionHandle) throws(FilesystemError) -> Void
  ) throws {
    let volume = try Volume.mountForTest(device)
    let trees = volume.trees
    try volume.transactions.performUnreserved { (handle) throws(FilesystemError) in
      try body(trees, handle)
    }
    try volume.unmount()
  }

  /// That the image is read, not written, and that the reason names `words`.
  private func expectReadOnly(
    _ image: MemoryDevice, _ words: String..., location: SourceLocation = #_sourceLocation
  ) throws {
    let device = try SimulatedDevice(image, recording: true)
    let volume = try Volume.mountForTest(device)
    let reason = try #require(volume.readOnlyReason, sourceLocation: location)
    for word in words { #expect(reason.contains(word), sourceLocation: location) }
    #expect(try volume.stateLines().count == 1, sourceLocation: location)
    _ = try volume.statistics()
    try volume.unmount()
    #expect(device.recorded.isEmpty, "the image was written", sourceLocation: location)
  }

  private func expectWritable(_ device: any BlockDevice) throws {
    let volume = try Volume.mountForTest(device)
    #expect(volume.readOnlyReason == nil)
    try volume.makeFile("new")
    try volume.unmount()
  }

  // The superblock.

  /// What restores a metadata dump sets one of these flags. Linux 6.18 mounts such an image read-write,
  /// without a word, and keeps the flag; the next flag it refuses.
  @Test(.timeLimit(.minutes(1)), arguments: [33, 34])
  func restoredMetadataDump(bit: UInt64) throws {
    let forge = try FieldForge(Self.image())
    let flags = try forge.field("superblock + 0x38")
    let device = try forge.forged([(flags, flags.value | 1 << bit)])
    try expectWritable(device)
    #expect(try ImageReader(device: device).superblock.flags.rawValue >> bit & 1 == 1)
  }

  @Test(.timeLimit(.minutes(1)), arguments: [3, 31, 35, 36, 37, 63])
  func unknownFlag(bit: UInt64) throws {
    let forge = try FieldForge(Self.image())
    let flags = try forge.field("superblock + 0x38")
    #expect(throws: FilesystemError.self) {
      try Volume.mountForTest(forge.forged([(flags, flags.value | 1 << bit)]))
    }
  }

  /// Linux changes nothing on an image with this flag.
  @Test(.timeLimit(.minutes(1)))
  func markedAsFaulty() throws {
    let forge = try FieldForge(Self.image())
    let flags = try forge.field("superblock + 0x38")
    try expectReadOnly(forge.forged([(flags, flags.value | 1 << 2)]), "error")
  }

  /// The size that a superblock gives for all devices is not believed when the device is made longer.
  @Test(.timeLimit(.minutes(1)), arguments: [0, 1, UInt64.max])
  func sizeOfAllDevices(bytes: UInt64) throws {
    let forge = try FieldForge(Self.image())
    let device = try forge.forged([(try forge.field("superblock + 0x70"), bytes)])
    let volume = try Volume.mountForTest(device)
    try volume.resize(to: 512 << 20)
    try volume.unmount()
    #expect(try ImageReader(device: device).superblock.totalBytes == 512 << 20)
    try CacheJudge.check(device)
  }

  // Copies.

  /// The chunk tree's root is the first block that is read.
  @Test(.timeLimit(.minutes(1)))
  func firstCopyOfTheFirstBlock() throws {
    let image = try Self.image()
    let reader = try ImageReader(device: image)
    let place = try reader.device.locate(reader.superblock.chunkRoot, length: 16384, copy: 0).offset
    let device = try SimulatedDevice(image)
    device.fail(.init([.read], in: [place.rawValue..<(place.rawValue + 4096)]))
    try expectWritable(device)
  }

  /// A bad copy is left as it is when nothing else may be written either, whatever the reason is
  /// and however late it is found; and else is mended, though it was met before that was known.
  @Test(.timeLimit(.minutes(1)), arguments: [false, true])
  func badCopyIsMendedOnlyWhereItMay(isBalancing: Bool) throws {
    let image = try Self.image()
    if isBalancing {
      try Self.change(image) { (trees, handle) throws(FilesystemError) in
        try trees.root.insert(BalanceItem.key, size: BalanceItem.size, in: handle) { item in
          item.zero()
          // Of data, converting to a profile of several devices.
          item.store(UInt64(1), at: 0)
          item.store(BlockGroupFlags.raid1.rawValue, at: 8 + 56)
          item.store(UInt64(1 << 8), at: 8 + 64)
        }
      }
    }
    let reader = try ImageReader(device: image)
    let root = reader.superblock.root
    let place = try reader.device.locate(root, length: 16384, copy: 0).offset
    let noise = [UInt8](repeating: 0x5a, count: 512)
    try noise.withUnsafeBytes { try image.write($0, at: place + 8000) }

    if isBalancing { return try expectReadOnly(image, "balance") }
    let device = try SimulatedDevice(image, recording: true)
    let volume = try Volume.mountForTest(device)
    let isMended = device.recorded.contains {
      guard case .write(let offset, let bytes) = $0 else { return false }
      return offset == place.rawValue && bytes.count == 16384
    }
    #expect(isMended)
    try volume.unmount()
  }

  // Blocks.

  /// A root that says it is of the next transaction, as its root item does: were it taken for one
  /// that the next transaction has made, it would be changed where it stands.
  @Test(.timeLimit(.minutes(1)))
  func blockFromTheFuture() throws {
    let forge = try FieldForge(Self.image())
    let next = try forge.field("superblock + 0x48").value + 1
    let device = try forge.forged([
      (forge.field("tree 5 header + 0x50"), next),
      (forge.field("tree 1 ROOT_ITEM 5 ", "+ 0xa0"), next),
      (forge.field("tree 1 ROOT_ITEM 5 ", "+ 0xef"), next),
    ])
    #expect(throws: FilesystemError.self) { try Volume.mountForTest(device) }
  }

  /// Linux before 3.6 wrote root items of 239 bytes; a change of such a tree lengthens it.
  @Test(.timeLimit(.minutes(1)))
  func shortRootItem() throws {
    let device = try Self.image()
    let prefix = Key(TreeID.topLevel.objectID, .rootItem, 0)
    func size() throws -> Int? {
      var size: Int?
      let reader = try ImageReader(device: device)
      try reader.walk(reader.rootOfRootTree, from: prefix, through: prefix) {
        (_, bytes) throws(FilesystemError) in
        size = bytes.byteCount
        return true
      }
      return size
    }
    try Self.change(device) { (trees, handle) throws(FilesystemError) in
      let bytes = try trees.root.find(prefix) { (bytes) throws(FilesystemError) in
        bytes.array(0, RootItem.legacySize)
      }
      try trees.root.replace(prefix, size: RootItem.legacySize, in: handle) {
        $0.store(bytes ?? [], at: 0)
      }
    }
    #expect(try size() == RootItem.legacySize)
    try expectWritable(device)
    #expect(try size() == RootItem.size)
    if isRoot {
      let directory = try TemporaryDirectory()
      try device.save(to: directory.file("image"))
      try ImageCheck.expectSound(directory.file("image"))
    }
    let volume = try Volume.mountForTest(device)
    #expect(try volume.stateLines().count == 2)
    try volume.unmount()
  }

  // Chunks, device extents and block groups.

  private static func firstKey(
    _ tree: Tree, _ type: ItemType
  ) throws(FilesystemError) -> Key {
    var first: Key?
    try tree.forEach(from: .zero) { (key, _) throws(FilesystemError) in
      if key.type == type { first = first ?? key }
      return first == nil
    }
    guard let first else { throw .notFound }
    return first
  }

  /// Its place would be given to a new chunk.
  @Test(.timeLimit(.minutes(1)))
  func chunkWithoutDeviceExtent() throws {
    let image = try Self.image()
    try Self.change(image) { (trees, handle) throws(FilesystemError) in
      try trees.device.delete(Self.firstKey(trees.device, .devExtent), in: handle)
    }
    try expectReadOnly(image, "device extent")
  }

  @Test(.timeLimit(.minutes(1)))
  func deviceExtentOfNoChunk() throws {
    let image = try Self.image()
    try Self.change(image) { (trees, handle) throws(FilesystemError) in
      let extent = DeviceExtent(
        chunkOffset: LogicalAddress(1 << 40), length: 1 << 20, chunkTreeUUID: .zero)
      try trees.device.insert(
        Key(1, .devExtent, 250 << 20), size: DeviceExtent.size, in: handle
      ) { extent.encode(into: $0) }
    }
    try expectReadOnly(image, "device extent")
  }

  @Test(.timeLimit(.minutes(1)), arguments: [0x10, 0x18])
  func deviceExtentOfAnotherChunk(offset: Int) throws {
    let image = try Self.image()
    let forge = try FieldForge(image)
    let field = try forge.field("tree 4 DEV_EXTENT", "+ 0x\(String(offset, radix: 16))")
    try expectReadOnly(forge.forged([(field, field.value - 65536)]), "device extent")
  }

  @Test(.timeLimit(.minutes(1)))
  func chunkWithoutBlockGroup() throws {
    let image = try Self.image { $0.data = .single }
    try Self.change(image) { (trees, handle) throws(FilesystemError) in
      try trees.extent.delete(Self.firstKey(trees.extent, .blockGroupItem), in: handle)
    }
    try expectReadOnly(image, "block group")
  }

  @Test(.timeLimit(.minutes(1)))
  func blockGroupWithoutChunk() throws {
    let image = try Self.image()
    try Self.change(image) { (trees, handle) throws(FilesystemError) in
      let item = BlockGroupItem(used: 0, flags: .data)
      try trees.extent.insert(
        Key(ObjectID(1 << 40), .blockGroupItem, 1 << 27), size: BlockGroupItem.size, in: handle
      ) { item.encode(into: $0) }
    }
    try expectReadOnly(image, "block group")
  }

  @Test(.timeLimit(.minutes(1)))
  func blockGroupOfAnotherType() throws {
    let forge = try FieldForge(Self.image())
    let field = try forge.field("tree 2 BLOCK_GROUP_ITEM", "+ 0x10")
    try expectReadOnly(
      forge.forged([(field, field.value ^ BlockGroupFlags.dup.rawValue)]), "block group")
  }
}

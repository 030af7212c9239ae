import TestSupport
import Testing

@testable import FSCore

/// Damaged images are read as far as they can be, and never trap.
@Suite(.timeLimit(.minutes(10))) struct InspectionTests {
  /// All that the inspection commands do.
  @discardableResult
  private func inspect(_ device: any BlockDevice) -> [String] {
    let reader: ImageReader
    do throws(FilesystemError) {
      reader = try ImageReader(device: device)
    } catch {
      return ["\(error)"]
    }
    let survey = CacheSurvey(reader)
    for chunk in reader.chunks {
      _ = survey.survey(chunk, verify: true, keepingEntries: true)
      _ = MapSurvey(reader).picture(of: chunk, cellCount: 50)
    }
    _ = try? UsageSurvey(reader).usage()
    for tree in ItemText.trees.map(\.tree) {
      do throws(FilesystemError) {
        let root = try reader.root(of: tree)
        try reader.walk(root) { (key, bytes) throws(FilesystemError) in
          _ = ItemText.key(key) + ItemText.content(key, bytes, reader.geometry)
          return true
        }
      } catch {
        reader.note("\(error)")
      }
    }
    return reader.problems
  }

  private func image(_ configure: (inout MakeFilesystem.Options) -> Void = { _ in }) throws
    -> MemoryDevice
  {
    let device = MemoryDevice(sizeBytes: 256 << 20)
    var options = MakeFilesystem.Options()
    configure(&options)
    _ = try MakeFilesystem.write(to: device, options: options)
    return device
  }

  private func overwrite(
    _ device: MemoryDevice, at offset: UInt64, _ bytes: [UInt8]
  ) throws {
    try bytes.withUnsafeBytes { try device.write($0, at: PhysicalAddress(offset)) }
  }

  private static let primary: UInt64 = 65536

  @Test func nothingToRead() throws {
    for size: UInt64 in [0, 1, 65535, 65536, 69632, 128 << 20] {
      #expect(inspect(MemoryDevice(sizeBytes: size)).count == 1)
    }
  }

  /// The copies serve when the first superblock is gone.
  @Test func otherSuperblock() throws {
    let device = try image()
    try overwrite(device, at: Self.primary, [UInt8](repeating: 0, count: 4096))
    let problems = inspect(device).filter { $0 != "\(FilesystemError.notFound)" }
    #expect(problems.count == 1)
    #expect(problems.first?.contains("the copy at 67108864 is used") == true, "\(problems)")
  }

  /// The second copy of DUP metadata serves when the first is bad, and the damage is told.
  @Test func otherCopy() throws {
    let device = try image()
    let reader = try ImageReader(device: device)
    let root = reader.superblock.root
    let place = try reader.device.locate(root, length: 16384, copy: 0).offset
    try overwrite(device, at: place.rawValue + 5000, [1, 2, 3])
    let again = try ImageReader(device: device)
    try again.walk(again.rootOfRootTree) { (_, _) throws(FilesystemError) in true }
    #expect(again.problems.count == 1)
    #expect(again.problems.first?.contains("copy 1 of 2") == true, "\(again.problems)")

    // Both bad: an error with the block's address.
    let other = try reader.device.locate(root, length: 16384, copy: 1).offset
    try overwrite(device, at: other.rawValue + 5000, [1, 2, 3])
    #expect(throws: FilesystemError.checksum(what: "tree block", address: root.rawValue)) {
      try again.walk(again.rootOfRootTree) { (_, _) throws(FilesystemError) in true }
    }
  }

  @Test func truncated() throws {
    let whole = try image()
    for megabytes: UInt64 in [1, 2, 13, 22, 30, 40, 64, 100, 255] {
      let part = MemoryDevice(sizeBytes: megabytes << 20)
      try copy(whole, to: part)
      #expect(!inspect(part).isEmpty)
    }
  }

  private func copy(_ source: MemoryDevice, to target: MemoryDevice) throws {
    let buffer = AlignedBuffer(count: 1 << 20)
    for offset in stride(from: 0, to: min(target.sizeBytes, 128 << 20), by: 1 << 20) {
      try source.read(into: buffer.bytes, at: PhysicalAddress(offset))
      try target.write(buffer.readable, at: PhysicalAddress(offset))
    }
  }

  /// Noise in the superblock, its checksum mended.
  @Test(arguments: 0..<8 as Range<UInt64>)
  func noiseInSuperblock(_ seed: UInt64) throws {
    var random = SeededRandom(testSeed: seed)
    let device = try image { $0.metadata = .single }
    let buffer = AlignedBuffer(count: 4096)
    let original = AlignedBuffer(count: 4096)
    try device.read(into: original.bytes, at: PhysicalAddress(Self.primary))
    for _ in 0..<80 {
      buffer.bytes.copyMemory(from: original.readable)
      for _ in 0..<random.within(1...3) {
        // Most of what is read stands in the first kilobyte.
        let at = random.oneIn(5) ? random.within(32...4095) : random.within(0x48...0x3ff)
        buffer.bytes[at] = UInt8(random.below(256))
      }
      ChecksumType.crc32c.seal(buffer.bytes)
      try device.write(buffer.readable, at: PhysicalAddress(Self.primary))
      inspect(device)
    }
  }

  /// Noise in the items of every tree, the blocks' checksums mended.
  @Test(arguments: 0..<8 as Range<UInt64>)
  func noiseInTrees(_ seed: UInt64) throws {
    var random = SeededRandom(testSeed: seed)
    let device = try image { $0.nodeSize = 4096 }
    let reader = try ImageReader(device: device)
    let trees: [TreeID] = [.root, .extent, .chunk, .device, .topLevel, .uuid]
    let buffer = AlignedBuffer(count: 4096)
    for _ in 0..<80 {
      let address = try reader.root(of: random.pick(trees)).address
      let place = try reader.device.locate(address, length: 4096, copy: 0).offset
      try device.read(into: buffer.bytes, at: place)
      let saved = [UInt8](buffer.readable)
      for _ in 0..<random.within(1...3) {
        let isHeader = random.oneIn(3)
        let at = isHeader ? random.within(0x20...200) : random.within(3000...4095)
        let flipped = buffer.bytes[at] ^ 1 << UInt8(random.below(8))
        buffer.bytes[at] = random.oneIn(2) ? UInt8(random.below(256)) : flipped
      }
      ChecksumType.crc32c.seal(buffer.bytes)
      try reader.device.write(buffer.readable, at: address)
      inspect(device)
      try overwrite(device, at: place.rawValue, saved)
      try saved.withUnsafeBytes { try reader.device.write($0, at: address) }
    }
    #expect(inspect(device).allSatisfy { $0 == "\(FilesystemError.notFound)" })
  }

  /// A node whose children are all one block would be walked for ever.
  @Test func sharedChildren() throws {
    let device = try image { $0.nodeSize = 4096 }
    let reader = try ImageReader(device: device)
    let geometry = reader.geometry
    let leaf = try reader.root(of: .topLevel).address
    let base = leaf.rawValue + (1 << 20)
    var child = (address: leaf.rawValue, level: UInt8(0))
    for level in 1...7 as ClosedRange<UInt8> {
      let address = LogicalAddress(base + UInt64(level) * 4096)
      let block = AlignedBuffer(zeroed: 4096)
      var header = BlockHeader(
        fsid: geometry.fsid, address: address, chunkTreeUUID: .zero, generation: 1,
        owner: .topLevel, level: level)
      header.itemCount = 121
      header.encode(into: block.bytes)
      for slot in 0..<121 {
        let at = Format.headerSize + slot * Format.keyPointerSize
        Key(256, .inodeItem, UInt64(slot)).encode(into: block.bytes, at: at)
        block.bytes.store(child.address, at: at + 17)
        block.bytes.store(UInt64(1), at: at + 25)
      }
      geometry.checksumType.seal(block.bytes)
      try reader.device.write(block.readable, at: address)
      child = (address.rawValue, level)
    }
    var items = 0
    let root = BlockPointer(
      tree: .topLevel, address: LogicalAddress(child.address), level: child.level, generation: 1)
    try reader.walk(root) { (_, _) throws(FilesystemError) in
      items += 1
      return true
    }
    // Each block satisfies one parent at most: 120 of 121 children are refused at each level.
    #expect(reader.problemCount <= 7 * 121)
    #expect(items <= 2)
  }
}

/// The superblock: the one record at a fixed place, 4096 bytes. Which state of the file system
/// is the committed one is decided by it alone.
///
/// The bytes are kept whole, so that fields which we do not use survive.
package struct Superblock: Sendable {
  package static let size = 4096

  package var bytes: [UInt8]

  package enum Offset {
    package static let fsid = 0x20
    package static let address = 0x30
    package static let flags = 0x38
    package static let magic = 0x40
    package static let deviceItem = 0xc9
    package static let label = 0x12b
    package static let systemChunkArray = 0x32b
    package static let backupRoots = 0xb2b
  }

  /// A superblock of zeros with the magic number; `MakeFilesystem` fills in the rest.
  package init() {
    bytes = [UInt8](repeating: 0, count: Self.size)
    self[u64: Offset.magic] = Format.magic
    self[u64: Offset.flags] = 1
  }

  /// Takes the bytes as they are; `validate` says whether to believe them.
  package init(_ source: UnsafeRawBufferPointer) {
    precondition(source.count == Self.size)
    bytes = [UInt8](source)
  }

  package subscript(u64 offset: Int) -> UInt64 {
    get { bytes.withUnsafeBytes { $0.u64(offset) } }
    set { bytes.withUnsafeMutableBytes { $0.store(newValue, at: offset) } }
  }

  package subscript(u32 offset: Int) -> UInt32 {
    get { bytes.withUnsafeBytes { $0.u32(offset) } }
    set { bytes.withUnsafeMutableBytes { $0.store(newValue, at: offset) } }
  }

  package subscript(uuid offset: Int) -> UUIDBytes {
    get { UUIDBytes(rawValue: bytes.withUnsafeBytes { $0.littleEndian(offset) }) }
    set { bytes.withUnsafeMutableBytes { $0.store(newValue, at: offset) } }
  }

  package var fsid: UUIDBytes {
    get { self[uuid: Offset.fsid] }
    set { self[uuid: Offset.fsid] = newValue }
  }

  /// Where this copy stands on the device.
  package var address: PhysicalAddress {
    get { PhysicalAddress(self[u64: Offset.address]) }
    set { self[u64: Offset.address] = newValue.rawValue }
  }

  package var flags: SuperblockFlags {
    get { SuperblockFlags(rawValue: self[u64: Offset.flags]) }
    set { self[u64: Offset.flags] = newValue.rawValue }
  }

  package var magic: UInt64 { self[u64: Offset.magic] }

  package var generation: Generation {
    get { Generation(self[u64: 0x48]) }
    set { self[u64: 0x48] = newValue.rawValue }
  }

  package var root: LogicalAddress {
    get { LogicalAddress(self[u64: 0x50]) }
    set { self[u64: 0x50] = newValue.rawValue }
  }

  package var chunkRoot: LogicalAddress {
    get { LogicalAddress(self[u64: 0x58]) }
    set { self[u64: 0x58] = newValue.rawValue }
  }

  package var logRoot: LogicalAddress {
    get { LogicalAddress(self[u64: 0x60]) }
    set { self[u64: 0x60] = newValue.rawValue }
  }

  package var totalBytes: UInt64 {
    get { self[u64: 0x70] }
    set { self[u64: 0x70] = newValue }
  }

  package var bytesUsed: UInt64 {
    get { self[u64: 0x78] }
    set { self[u64: 0x78] = newValue }
  }

  package var rootDirectory: UInt64 {
    get { self[u64: 0x80] }
    set { self[u64: 0x80] = newValue }
  }

  package var deviceCount: UInt64 {
    get { self[u64: 0x88] }
    set { self[u64: 0x88] = newValue }
  }

  package var sectorSize: UInt32 {
    get { self[u32: 0x90] }
    set { self[u32: 0x90] = newValue }
  }

  package var nodeSize: UInt32 {
    get { self[u32: 0x94] }
    set { self[u32: 0x94] = newValue }
  }

  /// Unused, and still checked by Linux: equal to `nodeSize`.
  package var leafSize: UInt32 {
    get { self[u32: 0x98] }
    set { self[u32: 0x98] = newValue }
  }

  package var stripeSize: UInt32 {
    get { self[u32: 0x9c] }
    set { self[u32: 0x9c] = newValue }
  }

  package var chunkRootGeneration: Generation {
    get { Generation(self[u64: 0xa4]) }
    set { self[u64: 0xa4] = newValue.rawValue }
  }

  package var compatFlags: UInt64 { self[u64: 0xac] }

  package var readOnlyFeatures: ReadOnlyCompatibleFeatures {
    get { ReadOnlyCompatibleFeatures(rawValue: self[u64: 0xb4]) }
    set { self[u64: 0xb4] = newValue.rawValue }
  }

  package var features: IncompatibleFeatures {
    get { IncompatibleFeatures(rawValue: self[u64: 0xbc]) }
    set { self[u64: 0xbc] = newValue.rawValue }
  }

  package var checksumTypeNumber: UInt16 {
    get { bytes.withUnsafeBytes { $0.u16(0xc4) } }
    set { bytes.withUnsafeMutableBytes { $0.store(newValue, at: 0xc4) } }
  }

  package var checksumType: ChecksumType? { ChecksumType(rawValue: checksumTypeNumber) }

  package var rootLevel: UInt8 {
    get { bytes[0xc6] }
    set { bytes[0xc6] = newValue }
  }

  package var chunkRootLevel: UInt8 {
    get { bytes[0xc7] }
    set { bytes[0xc7] = newValue }
  }

  package var logRootLevel: UInt8 {
    get { bytes[0xc8] }
    set { bytes[0xc8] = newValue }
  }

  package var deviceItem: DeviceItem {
    get throws(FilesystemError) {
      let end = Offset.deviceItem + DeviceItem.size
      return try DeviceItem(bytes.span.bytes.extracting(Offset.deviceItem..<end))
    }
  }

  package mutating func setDeviceItem(_ item: DeviceItem) {
    bytes.withUnsafeMutableBytes { item.encode(into: $0.part(Offset.deviceItem, DeviceItem.size)) }
  }

  /// The label as text; bytes that are no UTF-8 are replaced.
  package var label: String {
    let field = bytes[Offset.label..<(Offset.label + 256)]
    return String(decoding: field.prefix { $0 != 0 }, as: UTF8.self)
  }

  /// At most 255 bytes.
  package mutating func setLabel(_ label: [UInt8]) {
    precondition(label.count <= 255)
    for index in 0..<256 { bytes[Offset.label + index] = index < label.count ? label[index] : 0 }
  }

  /// `generation` when the v1 free space caches are those of this commit.
  package var cacheGeneration: UInt64 {
    get { self[u64: 0x22b] }
    set { self[u64: 0x22b] = newValue }
  }

  package var uuidTreeGeneration: UInt64 {
    get { self[u64: 0x233] }
    set { self[u64: 0x233] = newValue }
  }

  package var metadataUUID: UUIDBytes { self[uuid: 0x23b] }

  /// The fsid that tree blocks carry.
  package var blockFSID: UUIDBytes { features.contains(.metadataUUID) ? metadataUUID : fsid }

  /// The chunks of type SYSTEM, without which no tree can be read.
  package func systemChunks() throws(FilesystemError) -> [(start: LogicalAddress, item: ChunkItem)]
  {
    let size = Int(self[u32: 0xa0])
    guard size >= Key.size, size <= Format.systemChunkArraySize else {
      throw .corrupt("superblock: a system chunk array of \(size) bytes")
    }
    let array = bytes.span.bytes.extracting(
      Offset.systemChunkArray..<(Offset.systemChunkArray + size))
    var chunks: [(start: LogicalAddress, item: ChunkItem)] = []
    var at = 0
    while at < size {
      guard at + Key.size + ChunkItem.fixedSize <= size else {
        throw .corrupt("superblock: the system chunk array ends within an entry")
      }
      let key = Key(array, at: at)
      let length =
        ChunkItem.fixedSize + Int(array.u16(at + Key.size + 0x2c)) * ChunkItem.stripeSize
      guard key.type == .chunkItem, at + Key.size + length <= size else {
        throw .corrupt("superblock: the system chunk array holds an entry that is no chunk")
      }
      let item = try ChunkItem(array.extracting((at + Key.size)..<(at + Key.size + length)))
      guard item.flags.contains(.system) else {
        throw .corrupt("superblock: the system chunk array holds a chunk that is not SYSTEM")
      }
      chunks.append((LogicalAddress(key.offset), item))
      at += Key.size + length
    }
    return chunks
  }

  /// Writes the system chunk array; throws when the chunks do not fit.
  package mutating func setSystemChunks(
    _ chunks: [(start: LogicalAddress, item: ChunkItem)]
  ) throws(FilesystemError) {
    let size = chunks.reduce(0) { $0 + Key.size + $1.item.size }
    guard size <= Format.systemChunkArraySize else {
      throw .corrupt("\(chunks.count) system chunks do not fit the superblock")
    }
    bytes.withUnsafeMutableBytes { buffer in
      let array = buffer.part(Offset.systemChunkArray, Format.systemChunkArraySize)
      array.zero()
      var at = 0
      for chunk in chunks {
        Key(.firstChunkTree, .chunkItem, chunk.start.rawValue).encode(into: array, at: at)
        chunk.item.encode(into: array.part(at + Key.size, chunk.item.size))
        at += Key.size + chunk.item.size
      }
    }
    self[u32: 0xa0] = UInt32(size)
  }

  /// Writes this copy's address and checksum and returns the 4096 bytes.
  package func sealed(for address: PhysicalAddress) -> AlignedBuffer {
    var copy = self
    copy.address = address
    let buffer = AlignedBuffer(count: Self.size)
    buffer.bytes.store(copy.bytes, at: 0)
    (checksumType ?? .crc32c).seal(buffer.bytes)
    return buffer
  }

  /// The offsets at which a device of `sizeBytes` has a copy.
  package static func offsets(deviceSize sizeBytes: UInt64) -> [PhysicalAddress] {
    Format.superblockOffsets.filter { $0 + UInt64(size) < sizeBytes }.map { PhysicalAddress($0) }
  }
}

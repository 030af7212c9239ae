/// Makes a leaf from a list of items.
struct LeafBuilder {
  let owner: TreeID
  private var items: [(key: Key, data: [UInt8])] = []

  init(owner: TreeID) { self.owner = owner }

  /// Adds an item of `size` bytes, zeroed before `fill` writes to them.
  mutating func add(
    _ key: Key, size: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void
  ) {
    var data = [UInt8](repeating: 0, count: size)
    data.withUnsafeMutableBytes { fill($0) }
    items.append((key, data))
  }

  /// The whole block, its checksum included. The items must fit, and have different keys.
  func block(
    at address: LogicalAddress, geometry: Geometry, generation: Generation
  ) -> AlignedBuffer {
    let buffer = AlignedBuffer(zeroed: geometry.nodeBytes)
    var header = BlockHeader(
      fsid: geometry.fsid, address: address, chunkTreeUUID: geometry.chunkTreeUUID,
      generation: generation, owner: owner, level: 0)
    header.itemCount = UInt32(items.count)
    header.encode(into: buffer.bytes)

    var dataStart = geometry.leafCapacity
    for (slot, item) in items.sorted(by: { $0.key < $1.key }).enumerated() {
      dataStart -= item.data.count
      let at = slot * Format.itemHeaderSize
      precondition(dataStart >= at + Format.itemHeaderSize)
      let itemHeader = buffer.bytes.part(Format.headerSize + at, Format.itemHeaderSize)
      item.key.encode(into: itemHeader)
      itemHeader.store(UInt32(dataStart), at: 0x11)
      itemHeader.store(UInt32(item.data.count), at: 0x15)
      buffer.bytes.store(item.data, at: Format.headerSize + dataStart)
    }
    geometry.checksumType.seal(buffer.bytes)
    return buffer
  }
}

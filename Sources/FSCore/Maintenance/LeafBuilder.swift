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

  /// The same items in as many leaves as they need.
  func leaves(capacity: Int) -> [LeafBuilder] {
    var leaves = [LeafBuilder(owner: owner)]
    var bytes = 0
    for item in items.sorted(by: { $0.key < $1.key }) {
      let size = Format.itemHeaderSize + item.data.count
      if bytes + size > capacity {
        leaves.append(LeafBuilder(owner: owner))
        bytes = 0
      }
      leaves[leaves.count - 1].items.append(item)
      bytes += size
    }
    return leaves
  }

  /// The smallest key; of a leaf that is not empty.
  var firstKey: Key { items.map(\.key).min()! }

  /// The whole block, its checksum included. The items must fit, and have different keys.
  func block(
    at address: LogicalAddress, geometry: Geometry, generation: Generation
  ) -> AlignedBuffer {
    let header = BlockHeader(
      fsid: geometry.fsid, address: address, chunkTreeUUID: geometry.chunkTreeUUID,
      generation: generation, owner: owner, level: 0)
    let buffer = header.newBlock(count: items.count, geometry)

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

/// A node above leaves.
struct NodeBuilder {
  let owner: TreeID
  let children: [KeyPointer]

  func block(
    at address: LogicalAddress, geometry: Geometry, generation: Generation
  ) -> AlignedBuffer {
    let header = BlockHeader(
      fsid: geometry.fsid, address: address, chunkTreeUUID: geometry.chunkTreeUUID,
      generation: generation, owner: owner, level: 1)
    let buffer = header.newBlock(count: children.count, geometry)
    for (slot, child) in children.enumerated() {
      let at = Format.headerSize + slot * Format.keyPointerSize
      let pointer = buffer.bytes.part(at, Format.keyPointerSize)
      child.key.encode(into: pointer)
      pointer.store(child.address.rawValue, at: Key.size)
      pointer.store(child.generation.rawValue, at: Key.size + 8)
    }
    geometry.checksumType.seal(buffer.bytes)
    return buffer
  }
}

extension BlockHeader {
  /// A block with this header for `count` items or pointers, which the caller adds.
  fileprivate func newBlock(count: Int, _ geometry: Geometry) -> AlignedBuffer {
    let buffer = AlignedBuffer(zeroed: geometry.nodeBytes)
    var header = self
    header.itemCount = UInt32(count)
    header.encode(into: buffer.bytes)
    return buffer
  }
}

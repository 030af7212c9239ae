/// Whether the three records of where space is say the same: chunks, device extents, block groups.
///
/// New chunks go where no device extent is, and extents where a block group has room: an image in
/// which a record is missing would be allocated over. Linux mounts none of them; here they are read.
struct LayoutAgreement {
  let chunks: ChunkMap
  let deviceID: DeviceID
  let deviceTree: Tree
  /// The tree that block group items stand in, and whether nothing else does.
  let groupTree: Tree
  let hasOwnGroupTree: Bool

  /// The first disagreement in words; nil when there is none.
  func disagreement() throws(FilesystemError) -> String? {
    let chunks = chunks.all
    if let found = try ofDeviceExtents(chunks) { return found }
    return try ofBlockGroups(chunks)
  }

  // Device extents: one for each stripe, no other.

  private struct Place: Hashable {
    var offset: UInt64
    var length: UInt64
    var chunk: LogicalAddress
  }

  private func ofDeviceExtents(_ chunks: [Chunk]) throws(FilesystemError) -> String? {
    var expected: Set<Place> = []
    for chunk in chunks {
      for stripe in chunk.item.stripes where stripe.deviceID == deviceID {
        let place = Place(
          offset: stripe.offset.rawValue, length: chunk.length, chunk: chunk.start)
        if !expected.insert(place).inserted {
          return "two stripes of chunk \(chunk.start) stand at \(stripe.offset)"
        }
      }
    }
    var surplus: Place?
    let id = deviceID.objectID
    try deviceTree.forEach(from: Key(id, .devExtent, 0), through: Key(id, .devExtent, .max)) {
      (key, bytes) throws(FilesystemError) in
      let extent = try DeviceExtent(bytes)
      let place = Place(offset: key.offset, length: extent.length, chunk: extent.chunkOffset)
      if expected.remove(place) == nil { surplus = place }
      return surplus == nil
    }
    if let surplus {
      return "the device extent at \(surplus.offset) is of no chunk, though it says of "
        + "\(surplus.chunk)"
    }
    return expected.min { $0.offset < $1.offset }.map {
      "chunk \($0.chunk) has no device extent at \($0.offset)"
    }
  }

  // Block groups: one for each chunk, no other.

  private func ofBlockGroups(_ chunks: [Chunk]) throws(FilesystemError) -> String? {
    var end = LogicalAddress(0)
    for (number, chunk) in chunks.enumerated() {
      try groupTree.expectGroupItems(of: chunks, from: number)
      if let found = try inGap(from: end, to: chunk.start.rawValue) { return found }
      end = chunk.end
      let key = Key(ObjectID(chunk.start.rawValue), .blockGroupItem, chunk.length)
      let item = try groupTree.find(key) { (bytes) throws(FilesystemError) in
        try BlockGroupItem(bytes)
      }
      guard let item else { return "chunk \(chunk.start) has no block group" }
      guard item.flags == chunk.item.flags else {
        return "chunk \(chunk.start) and its block group are of different types"
      }
    }
    if let found = try inGap(from: end, to: .max) { return found }
    guard hasOwnGroupTree else { return nil }

    // Here all items are groups. In the extent tree they stand among the extents, all of which
    // would have to be read.
    var count = 0
    try groupTree.forEach(from: .zero) { (key, _) throws(FilesystemError) in
      count += key.type == .blockGroupItem ? 1 : 0
      return true
    }
    return count == chunks.count ? nil : "there are \(count) block groups, \(chunks.count) chunks"
  }

  /// What stands where no chunk is: a group or, as wrong, an extent.
  private func inGap(
    from start: LogicalAddress, to end: UInt64
  ) throws(FilesystemError) -> String? {
    guard start.rawValue < end else { return nil }
    let first = try groupTree.findFirst(atLeast: Key(ObjectID(start.rawValue), .untyped, 0)) {
      (key, _) throws(FilesystemError) in key
    }
    guard let first, first.objectID.rawValue < end else { return nil }
    if first.type == .blockGroupItem { return "block group \(first.objectID) has no chunk" }
    return "the extent at \(first.objectID) is in no chunk and no block group"
  }
}

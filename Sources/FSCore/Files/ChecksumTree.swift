/// The checksums of data, one for each sector, by logical address.
///
/// An item's key is (−10, EXTENT_CSUM, address of the first sector); its data are the sums of
/// consecutive sectors. Items never overlap; neighbours need not be merged.
///
/// Invariants:
/// 1. Changes go one after the other (`changes`, taken before the tree's lock), for most take
///    several steps in the tree.
/// 2. Readers take no part in that. So a step never takes a sum away that a later step puts
///    back: what remains of an item stands in the tree before the item goes. For a moment two
///    items may have sums of the same sectors; they are equal.
package final class ChecksumTree: Sendable, DataChecksumRemoval {
  let tree: Tree
  let sectorSize: UInt64
  /// Bytes of one sum.
  let sumSize: Int
  /// The most sums that one item gets.
  let maximumCount: Int
  /// Room for the content of one item.
  private let changes: Guarded<AlignedBuffer>

  package init(tree: Tree, geometry: Geometry) {
    self.tree = tree
    sectorSize = geometry.sectorSize
    sumSize = geometry.checksumType.size
    maximumCount = Self.maximumCount(leafCapacity: geometry.leafCapacity, sumSize: sumSize)
    changes = Guarded(AlignedBuffer(count: geometry.nodeBytes), rank: .dataChecksums)
  }

  static func maximumCount(leafCapacity: Int, sumSize: Int) -> Int {
    min((leafCapacity - 50) / sumSize - 1, 4096)
  }

  static func key(_ address: LogicalAddress) -> Key {
    Key(.extentChecksum, .extentCsum, address.rawValue)
  }
}

/// Where the sums of an item stand.
struct ChecksumRange: Equatable, Sendable {
  var start: LogicalAddress
  var count: Int
  var end: LogicalAddress
}

extension ChecksumTree {
  /// The sums of the sectors of [address, +length).
  ///
  /// `output` has room for one for each; where none is stored it is left as it is. The answer
  /// says which sectors have one.
  package func read(
    from address: LogicalAddress, length: UInt64, into output: UnsafeMutableRawBufferPointer
  ) throws(FilesystemError) -> SectorSet {
    let (end, count) = try sectors(address, length)
    precondition(output.count >= count * sumSize)
    var present = SectorSet(count: count)
    guard count > 0 else { return present }

    // The item that begins at or before the range, then those that begin within it.
    _ = try tree.findLast(atMost: Self.key(address)) { (key, bytes) throws(FilesystemError) in
      guard let item = try range(key, bytes.byteCount) else { return }
      copy(bytes, of: item, from: address, to: end, into: output, &present)
    }
    guard !present.isComplete else { return present }

    let first = Self.key(address + sectorSize)
    guard first < Self.key(end) else { return present }
    let last = Self.key(LogicalAddress(end.rawValue - 1))
    try tree.forEach(from: first, through: last) { (key, bytes) throws(FilesystemError) in
      guard let item = try range(key, bytes.byteCount) else { return true }
      copy(bytes, of: item, from: address, to: end, into: output, &present)
      return true
    }
    return present
  }

  private func copy(
    _ bytes: RawSpan, of item: ChecksumRange, from address: LogicalAddress,
    to end: LogicalAddress, into output: UnsafeMutableRawBufferPointer,
    _ present: inout SectorSet
  ) {
    let start = max(item.start, address)
    let stop = min(item.end, end)
    guard start < stop else { return }
    let count = Int((stop - start) / sectorSize)
    let source = Int((start - item.start) / sectorSize) * sumSize
    let target = Int((start - address) / sectorSize)
    bytes.extracting(source..<(source + count * sumSize)).withUnsafeBytes {
      output.store($0, at: target * sumSize)
    }
    present.insert(target..<(target + count))
  }

  /// What an item covers; nil for an item that has no sums. Throws for one that breaks the rules.
  func range(_ key: Key, _ size: Int) throws(FilesystemError) -> ChecksumRange? {
    guard key.objectID == .extentChecksum, key.type == .extentCsum else { return nil }
    let count = size / sumSize
    let (end, overflow) = key.offset.addingReportingOverflow(UInt64(count) * sectorSize)
    guard size % sumSize == 0, key.offset % sectorSize == 0, !overflow else {
      throw .corrupt("a checksum item \(key) of \(size) bytes")
    }
    return ChecksumRange(
      start: LogicalAddress(key.offset), count: count, end: LogicalAddress(end))
  }

  /// The end and the number of sectors of a range.
  func sectors(
    _ address: LogicalAddress, _ length: UInt64
  ) throws(FilesystemError) -> (end: LogicalAddress, count: Int) {
    let (end, overflow) = address.rawValue.addingReportingOverflow(length)
    guard !overflow, address.rawValue % sectorSize == 0, length % sectorSize == 0 else {
      throw .corrupt("checksums of \(length) bytes at \(address)")
    }
    return (LogicalAddress(end), Int(length / sectorSize))
  }
}

extension ChecksumTree {
  /// Whether a sector of [address, +length) has a sum.
  func hasAny(
    from address: LogicalAddress, length: UInt64
  ) throws(FilesystemError) -> Bool {
    let (end, _) = try sectors(address, length)
    guard let last = try lastItem(below: end) else { return false }
    return last.end > address
  }

  /// Stores the sums of the sectors from `address` on. Any that are there already are replaced.
  package func insert(
    at address: LogicalAddress, _ sums: UnsafeRawBufferPointer,
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    precondition(sums.count % sumSize == 0)
    guard !sums.isEmpty else { return }
    let length = UInt64(sums.count / sumSize) * sectorSize
    let (end, _) = try sectors(address, length)

    try changes.withLock { scratch throws(FilesystemError) in
      var before = try lastItem(below: end)
      if let item = before, item.end > address {
        if item.start <= address && item.end >= end {
          return try overwrite(item, at: address, sums, in: handle)
        }
        while try removeLast(from: address, to: end, scratch, in: handle) {}
        before = try lastItem(below: end)
      }

      var rest = sums
      var start = address
      if let item = before, item.end == address, item.count < maximumCount {
        let count = min(maximumCount - item.count, rest.count / sumSize)
        try append(rest.part(0, count * sumSize), to: item, scratch, in: handle)
        rest = rest.part(count * sumSize, rest.count - count * sumSize)
        start = start + UInt64(count) * sectorSize
      }
      while !rest.isEmpty {
        let size = min(rest.count, maximumCount * sumSize)
        let part = rest.part(0, size)
        try insertItem(at: start, part, in: handle)
        rest = rest.part(size, rest.count - size)
        start = start + UInt64(size / sumSize) * sectorSize
      }
    }
  }

  /// Removes the sums of [address, +length); those beside it that share an item stay.
  package func remove(
    from address: LogicalAddress, length: UInt64, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    while try removePart(from: address, length: length, in: handle) {}
  }

  package func removePart(
    from address: LogicalAddress, length: UInt64, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    let (end, _) = try sectors(address, length)
    return try changes.withLock { scratch throws(FilesystemError) in
      try removeLast(from: address, to: end, scratch, in: handle)
    }
  }

  /// Removes the last item of a range, or leaves it ending at `address`. False when there is none.
  /// `changes` is held.
  private func removeLast(
    from address: LogicalAddress, to end: LogicalAddress, _ scratch: AlignedBuffer,
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    changes.assertHeld()
    guard let item = try lastItem(below: end), item.end > address else { return false }
    let keptBefore = item.start < address ? Int((address - item.start) / sectorSize) : 0
    let keptAfter = item.end > end ? Int((item.end - end) / sectorSize) : 0
    let content = keptBefore + keptAfter > 0 ? try content(of: item, scratch) : nil

    if let content, keptAfter > 0 {
      let part = content.part(
        content.count - keptAfter * sumSize, keptAfter * sumSize)
      try insertItem(at: end, part, in: handle)
    }
    if let content, keptBefore > 0 {
      let part = content.part(0, keptBefore * sumSize)
      try tree.replace(Self.key(item.start), size: part.count, in: handle) {
        $0.store(part, at: 0)
      }
    } else if try !tree.delete(Self.key(item.start), in: handle) {
      throw .corrupt("the checksum item at \(item.start) vanished")
    }
    return true
  }

  private func overwrite(
    _ item: ChecksumRange, at address: LogicalAddress, _ sums: UnsafeRawBufferPointer,
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let offset = Int((address - item.start) / sectorSize) * sumSize
    let isFound = try tree.modify(Self.key(item.start), in: handle) {
      bytes throws(FilesystemError) in
      guard bytes.count >= offset + sums.count else { return false }
      bytes.store(sums, at: offset)
      return true
    }
    guard isFound == true else { throw .corrupt("the checksum item at \(item.start) changed") }
  }

  private func insertItem(
    at address: LogicalAddress, _ sums: UnsafeRawBufferPointer,
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    do {
      try tree.insert(Self.key(address), size: sums.count, in: handle) { $0.store(sums, at: 0) }
    } catch .exists {
      throw .corrupt("checksum items overlap at \(address)")
    }
  }

  private func append(
    _ sums: UnsafeRawBufferPointer, to item: ChecksumRange, _ scratch: AlignedBuffer,
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let content = try content(of: item, scratch)
    let size = content.count + sums.count
    try tree.replace(Self.key(item.start), size: size, in: handle) {
      $0.store(content, at: 0)
      $0.store(sums, at: content.count)
    }
  }

  /// The last item that begins below `end`.
  private func lastItem(below end: LogicalAddress) throws(FilesystemError) -> ChecksumRange? {
    guard end > 0 else { return nil }
    let last = Self.key(LogicalAddress(end.rawValue - 1))
    return try tree.findLast(atMost: last) { (key, bytes) throws(FilesystemError) in
      try range(key, bytes.byteCount)
    } ?? nil
  }

  /// The sums of an item, copied to `scratch`.
  private func content(
    of item: ChecksumRange, _ scratch: AlignedBuffer
  ) throws(FilesystemError) -> UnsafeRawBufferPointer {
    let size = item.count * sumSize
    let isFound = try tree.find(Self.key(item.start)) { bytes throws(FilesystemError) in
      guard bytes.byteCount == size, size <= scratch.count else { return false }
      bytes.withUnsafeBytes { scratch.bytes.store($0, at: 0) }
      return true
    }
    guard isFound == true else { throw .corrupt("the checksum item at \(item.start) changed") }
    return scratch.readable.part(0, size)
  }
}

/// Lets the device go of what is free: the backing file of an image gets holes there. No lock of its
/// own.
///
/// 1. What is discarded is free for the last durable commit as for the running transaction: pinned
///    ranges are not in a group's index.
/// 2. A range is taken while it is discarded, so nothing is written there meanwhile.
/// 3. Copies of the superblock stay, also where no chunk is.
/// 4. A range is never kept over a commit: a handle is open meanwhile. So no cache is written that
///    lacks it.
package struct SpaceTrimmer {
  private let space: Space
  private let device: LogicalDevice
  private let transactions: TransactionManager

  /// At most so much is taken at a time.
  private static let longestPiece: UInt64 = 16 << 20
  /// How often a group is loaded again that was let go of before a piece could be taken.
  private static let mostRetries = 8

  package init(space: Space, device: LogicalDevice, transactions: TransactionManager) {
    self.space = space
    self.device = device
    self.transactions = transactions
  }

  /// Discards free ranges of at least `minimum` bytes in the block groups that `range` of logical
  /// addresses touches, and then what no chunk has. Returns how many bytes went, each copy counted.
  /// Called with no lock held and no handle open.
  package func trim(
    _ range: Range<UInt64>, minimum: UInt64
  ) throws(FilesystemError) -> UInt64 {
    var trimmed: UInt64 = 0
    for group in space.groups.all
    where range.lowerBound < group.end.rawValue && range.upperBound > group.start.rawValue {
      trimmed += try trim(group, minimum: max(minimum, group.sectorSize))
    }
    // Chunks may stand anywhere, so what is between them belongs to the whole.
    if range.lowerBound == 0, range.upperBound == .max {
      trimmed += try trimUnallocated(minimum: minimum)
    }
    return trimmed
  }

  private func trim(
    _ group: BlockGroup, minimum: UInt64
  ) throws(FilesystemError) -> UInt64 {
    let canSpare = space.reservations.canSpare(group)
    let copies = UInt64(group.flags.copies)
    var position = group.start
    var trimmed: UInt64 = 0
    // A whole volume must not come to stand in memory.
    let wasUnloaded = group.loading == .unloaded
    defer { if wasUnloaded { space.reservations.letGo(of: group) } }
    var retries = 0
    while position < group.end {
      // Between two pieces the group may be let go of.
      if group.loading == .unloaded { space.loader.load(group) }
      let done = try transactions.perform(reserving: 0, for: .freeing) {
        _ throws(FilesystemError) -> (address: LogicalAddress, length: UInt64)? in
        guard
          let taken = group.takeFree(
            from: position, minimum: minimum, maximum: Self.longestPiece, if: canSpare)
        else { return nil }
        defer { space.allocator.abandon(taken.address, length: taken.length) }
        try device.discard(taken.length, at: taken.address)
        return taken
      }
      guard let done else {
        guard group.loading == .unloaded, retries < Self.mostRetries else { break }
        retries += 1
        continue
      }
      position = done.address + done.length
      trimmed += done.length * copies
    }
    return trimmed
  }

  private func trimUnallocated(minimum: UInt64) throws(FilesystemError) -> UInt64 {
    let allocator = space.chunks.allocator
    var position: UInt64 = 0
    var trimmed: UInt64 = 0
    while let taken = allocator.borrow(from: position, maximum: Self.longestPiece) {
      defer { allocator.giveBack(taken.start, taken.length) }
      position = taken.start + taken.length
      for part in Self.withoutSuperblocks(taken.start..<taken.start + taken.length) {
        let length = part.upperBound - part.lowerBound
        guard length >= minimum else { continue }
        let place = PhysicalAddress(part.lowerBound)
        try device.devices.discard(
          length, at: DeviceAddress(device: allocator.device, offset: place))
        trimmed += length
      }
    }
    return trimmed
  }

  /// The parts of a range of the device in which no copy of the superblock stands.
  static func withoutSuperblocks(_ range: Range<UInt64>) -> [Range<UInt64>] {
    var parts: [Range<UInt64>] = []
    var start = range.lowerBound
    for offset in Format.superblockOffsets where offset < range.upperBound {
      let end = offset + Format.stripeLength
      guard end > start else { continue }
      if offset > start { parts.append(start..<offset) }
      start = end
    }
    if start < range.upperBound { parts.append(start..<range.upperBound) }
    return parts
  }
}

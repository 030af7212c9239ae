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

  /// Discards free ranges of at least `minimum` bytes at the logical addresses of `range`, and what no
  /// chunk has: as Linux does it, the latter once, whatever the range and the minimum are, for it has
  /// no logical addresses. Returns how many bytes went, each copy counted. Called with no lock held
  /// and no handle open.
  package func trim(
    _ range: Range<UInt64>, minimum: UInt64
  ) throws(FilesystemError) -> UInt64 {
    var trimmed: UInt64 = 0
    for group in space.groups.all
    where range.lowerBound < group.end.rawValue && range.upperBound > group.start.rawValue {
      trimmed += try trim(group, within: range, minimum: max(minimum, group.sectorSize))
    }
    return try trimmed + trimUnallocated()
  }

  private func trim(
    _ group: BlockGroup, within range: Range<UInt64>, minimum: UInt64
  ) throws(FilesystemError) -> UInt64 {
    let canLend = space.reservations.canLend(group)
    let copies = UInt64(group.flags.copies)
    var position = max(group.start.rawValue, range.lowerBound).roundedUp(to: group.sectorSize)
    let end = min(group.end.rawValue, range.upperBound).roundedDown(to: group.sectorSize)
    // Where the free range ends that is being trimmed: what is left of it may be shorter than the
    // minimum.
    var runEnd = position
    var trimmed: UInt64 = 0
    // A whole volume must not come to stand in memory.
    let wasUnloaded = group.loading == .unloaded
    defer { if wasUnloaded { space.reservations.letGo(of: group) } }
    var retries = 0
    while position < end {
      // Between two pieces the group may be let go of.
      if group.loading == .unloaded { space.loader.load(group) }
      let isRest = position < runEnd
      let bounds = LogicalAddress(position)..<LogicalAddress(isRest ? runEnd : end)
      let done = try transactions.perform(reserving: 0, for: .freeing) {
        _ throws(FilesystemError) -> (address: LogicalAddress, length: UInt64, end: LogicalAddress)?
        in
        guard
          let taken = group.takeFree(
            in: bounds, minimum: isRest ? group.sectorSize : minimum,
            maximum: Self.longestPiece, if: canLend)
        else { return nil }
        defer { space.allocator.abandon(taken.address, length: taken.length) }
        try device.discard(taken.length, at: taken.address)
        return taken
      }
      if let done {
        position = (done.address + done.length).rawValue
        runEnd = done.end.rawValue
        trimmed += done.length * copies
      } else if group.loading == .unloaded, retries < Self.mostRetries {
        retries += 1
      } else if isRest {
        position = runEnd
      } else {
        break
      }
    }
    return trimmed
  }

  private func trimUnallocated() throws(FilesystemError) -> UInt64 {
    let allocator = space.chunks.allocator
    var trimmed: UInt64 = 0
    while let taken = allocator.borrowUntrimmed(maximum: Self.longestPiece) {
      var isTrimmed = false
      defer { allocator.giveBack(taken.start, taken.length, isTrimmed: isTrimmed) }
      for part in Self.withoutSuperblocks(taken.start..<taken.start + taken.length) {
        let length = part.upperBound - part.lowerBound
        let place = PhysicalAddress(part.lowerBound)
        try device.devices.discard(
          length, at: DeviceAddress(device: allocator.device, offset: place))
        trimmed += length
      }
      isTrimmed = true
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

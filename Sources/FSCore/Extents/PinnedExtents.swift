import FreeSpace

/// The ranges of one block group that were freed in transactions which are not durable yet.
///
/// The last durable commit still refers to them, so nothing may be written there; for the
/// commits to come they are free.
///
/// 1. No range is pinned twice.
/// 2. At most two generations are present: the running one, and one being written.
struct PinnedExtents {
  private let start: LogicalAddress
  private let length: UInt64
  private let sectorSize: UInt64
  private(set) var sets: [(generation: Generation, ranges: FreeSpaceIndex)] = []

  init(start: LogicalAddress, length: UInt64, sectorSize: UInt64) {
    self.start = start
    self.length = length
    self.sectorSize = sectorSize
  }

  var bytes: UInt64 { sets.reduce(0) { $0 + $1.ranges.freeBytes } }

  var isEmpty: Bool { sets.isEmpty }

  /// Pins a range; says whether it is the first of its generation. Throws when part of the
  /// range is pinned already.
  mutating func add(
    _ address: LogicalAddress, _ length: UInt64, _ generation: Generation
  ) throws(FreeSpaceError) -> Bool {
    for set in sets
    where set.ranges.nextRange(from: address.rawValue, atLeast: 1)
      .map({ $0.offset < address.rawValue + length }) == true
    {
      throw .alreadyFree(offset: address.rawValue, length: length)
    }
    if let set = sets.last, set.generation == generation {
      try set.ranges.add(offset: address.rawValue, length: length)
      return false
    }
    let ranges = FreeSpaceIndex(start: start.rawValue, length: self.length, sectorSize: sectorSize)
    try ranges.add(offset: address.rawValue, length: length)
    sets.append((generation, ranges))
    return true
  }

  /// Takes out what was pinned up to and including `generation`.
  mutating func remove(upTo generation: Generation) -> [FreeSpaceIndex] {
    let removed = sets.filter { $0.generation <= generation }.map(\.ranges)
    sets.removeAll { $0.generation <= generation }
    return removed
  }
}

extension FreeSpaceIndex {
  /// Makes the whole of a range free, whatever part of it is free already.
  func fill(_ offset: UInt64, _ length: UInt64) throws(FreeSpaceError) {
    let end = offset + length
    var position = offset
    while position < end {
      let next = nextRange(from: position, atLeast: 1).flatMap { $0.offset < end ? $0 : nil }
      let gapEnd = next?.offset ?? end
      if gapEnd > position { try add(offset: position, length: gapEnd - position) }
      // Adding merges, so what follows is asked for again from the end of the old range.
      position = next.map { $0.offset + $0.length } ?? end
    }
  }

  /// Takes whatever part of a range is free.
  func clear(_ offset: UInt64, _ length: UInt64) throws(FreeSpaceError) {
    let end = offset + length
    var position = offset
    while position < end, let next = nextRange(from: position, atLeast: 1), next.offset < end {
      let part = min(next.offset + next.length, end) - next.offset
      try remove(offset: next.offset, length: part)
      position = next.offset + part
    }
  }
}

extension FilesystemError {
  /// A range that the free space index refused.
  init(_ error: FreeSpaceError, group: LogicalAddress) {
    self = .corrupt("free space of block group \(group): \(error)")
  }
}

import FreeSpace

/// Which bytes of one block group extent items cover and did not, or the other way round, since
/// the record of free space last took note. Owned by the group and guarded by its lock.
///
/// 1. No byte is in both sets: what came and went again leaves no trace.
/// 2. Neighbouring ranges are one. So the sets are as small as an index of the group's free space.
package struct SpaceChanges {
  private let start: LogicalAddress
  private let length: UInt64
  private let sectorSize: UInt64
  private var takenSet: FreeSpaceIndex?
  private var freedSet: FreeSpaceIndex?

  init(start: LogicalAddress, length: UInt64, sectorSize: UInt64) {
    self.start = start
    self.length = length
    self.sectorSize = sectorSize
  }

  package var isEmpty: Bool {
    (takenSet?.freeBytes ?? 0) == 0 && (freedSet?.freeBytes ?? 0) == 0
  }

  package var takenBytes: UInt64 { takenSet?.freeBytes ?? 0 }
  package var freedBytes: UInt64 { freedSet?.freeBytes ?? 0 }

  /// Calls `body` with each range that extent items cover now, in order.
  package func forEachTaken<E: Error>(
    _ body: (_ offset: UInt64, _ length: UInt64) throws(E) -> Void
  ) throws(E) {
    try takenSet?.forEachRange(body)
  }

  /// Calls `body` with each range that none covers any more, in order.
  package func forEachFreed<E: Error>(
    _ body: (_ offset: UInt64, _ length: UInt64) throws(E) -> Void
  ) throws(E) {
    try freedSet?.forEachRange(body)
  }

  /// An extent item covers the range from here on.
  mutating func take(_ address: LogicalAddress, _ length: UInt64) throws(FreeSpaceError) {
    if takenSet == nil { takenSet = emptySet() }
    try Self.move(address.rawValue, length, from: freedSet, orInto: takenSet)
  }

  /// None covers it any more.
  mutating func free(_ address: LogicalAddress, _ length: UInt64) throws(FreeSpaceError) {
    if freedSet == nil { freedSet = emptySet() }
    try Self.move(address.rawValue, length, from: takenSet, orInto: freedSet)
  }

  private func emptySet() -> FreeSpaceIndex {
    FreeSpaceIndex(start: start.rawValue, length: length, sectorSize: sectorSize)
  }

  /// Takes each part of a range out of `one` or, where it is not there, adds it to `other`.
  private static func move(
    _ offset: UInt64, _ length: UInt64, from one: FreeSpaceIndex?, orInto other: FreeSpaceIndex?
  ) throws(FreeSpaceError) {
    let end = offset + length
    var position = offset
    while position < end {
      let next = one?.nextRange(from: position, atLeast: 1)
      let gapEnd = min(next?.offset ?? end, end)
      if gapEnd > position { try other?.add(offset: position, length: gapEnd - position) }
      guard let next, next.offset < end else { return }
      let partEnd = min(next.offset + next.length, end)
      try one?.remove(offset: gapEnd, length: partEnd - gapEnd)
      position = partEnd
    }
  }
}

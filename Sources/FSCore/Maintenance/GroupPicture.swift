import FreeSpace

/// What stands where in one block group: its length in cells of the same size, whatever number of
/// extents there are.
package struct GroupPicture: Sendable {
  package struct Cell: Equatable, Sendable {
    /// Of the block group.
    package var bytes: UInt64 = 0
    /// Of files.
    package var data: UInt64 = 0
    /// Tree blocks.
    package var blocks: UInt64 = 0
    /// Kept for copies of the superblock.
    package var kept: UInt64 = 0
    /// What the record of free space lists as free, in extents and in bitmaps.
    package var inExtents: UInt64 = 0
    package var inBitmaps: UInt64 = 0

    package var used: UInt64 { data &+ blocks }
  }

  package let start: LogicalAddress
  package let length: UInt64
  package let flags: BlockGroupFlags
  package private(set) var cells: [Cell]
  /// Of the record of free space.
  package var verdict = CacheSurvey.Verdict.absent
  package var extentCount: UInt64 = 0
  package var bitmapCount: UInt64 = 0

  /// - Parameter cellCount: at least 1.
  init(_ chunk: Chunk, cellCount: Int) {
    start = chunk.start
    length = chunk.length
    flags = chunk.item.flags
    cells = [Cell](repeating: Cell(), count: cellCount)
    add(start.rawValue, length, to: \.bytes)
    for range in chunk.superblockRanges { add(range.start.rawValue, range.length, to: \.kept) }
  }

  package var used: UInt64 { cells.reduce(0) { $0 &+ $1.used } }

  /// Adds the bytes of a range to the cells that it touches. Parts outside the group are left out.
  mutating func add(
    _ address: UInt64, _ length: UInt64, to kind: WritableKeyPath<Cell, UInt64>
  ) {
    spread(address, length, bytes: length, to: kind)
  }

  /// Adds `bytes`, evenly, to the cells that a range touches.
  mutating func spread(
    _ address: UInt64, _ length: UInt64, bytes: UInt64, to kind: WritableKeyPath<Cell, UInt64>
  ) {
    let (sum, overflow) = address.addingReportingOverflow(length)
    let lower = max(address, start.rawValue) &- start.rawValue
    let upper = min(overflow ? .max : sum, start.rawValue + self.length) &- start.rawValue
    guard lower < upper, upper <= self.length, length > 0 else { return }
    var index = cell(at: lower)
    var position = lower
    while position < upper {
      let end = min(upper, boundary(index + 1))
      let share = (end - position).multipliedFullWidth(by: bytes)
      // The part of a range that is listed may be no more than the range.
      let part = share.high < length ? length.dividingFullWidth(share).quotient : end - position
      cells[index][keyPath: kind] &+= part
      position = end
      index += 1
    }
  }

  private func cell(at offset: UInt64) -> Int {
    let product = offset.multipliedFullWidth(by: UInt64(cells.count))
    var index = Int(length.dividingFullWidth(product).quotient)
    // Boundaries are rounded down.
    while index + 1 < cells.count, boundary(index + 1) <= offset { index += 1 }
    return index
  }

  /// Where a cell begins within the group.
  private func boundary(_ index: Int) -> UInt64 {
    let count = UInt64(cells.count)
    guard index < cells.count else { return length }
    return count.dividingFullWidth(length.multipliedFullWidth(by: UInt64(index))).quotient
  }
}

/// Looks at what stands where in an image, one block group after the other. Memory is bounded by one
/// group's cells, and by what its record of free space lists.
package struct MapSurvey {
  private let reader: ImageReader
  private let survey: CacheSurvey

  /// Where in an EXTENT_ITEM its flags stand, and the one that says that it is a tree block.
  private static let flagsOffset = 16
  private static let isTreeBlock: UInt64 = 2

  package init(_ reader: ImageReader) {
    self.reader = reader
    survey = CacheSurvey(reader)
  }

  package var record: CacheSurvey.Record { survey.record }

  package func picture(of chunk: Chunk, cellCount: Int) -> GroupPicture {
    var picture = GroupPicture(chunk, cellCount: cellCount)
    addExtents(of: chunk, to: &picture)
    addRecord(of: chunk, to: &picture)
    return picture
  }

  private func addExtents(of chunk: Chunk, to picture: inout GroupPicture) {
    guard let extentTree = survey.extentTree else { return }
    let nodeSize = reader.geometry.nodeSize
    survey.note { () throws(FilesystemError) in
      try reader.walk(
        extentTree, from: Key(ObjectID(chunk.start.rawValue), .extentItem, 0),
        through: Key(ObjectID(chunk.end.rawValue - 1), .metadataItem, .max)
      ) { (key, bytes) throws(FilesystemError) in
        switch key.type {
        case .metadataItem:
          picture.add(key.objectID.rawValue, nodeSize, to: \.blocks)
        case .extentItem:
          let end = Self.flagsOffset + 8
          let flags = bytes.byteCount >= end ? bytes.u64(Self.flagsOffset) : 0
          picture.add(
            key.objectID.rawValue, key.offset,
            to: flags & Self.isTreeBlock != 0 ? \.blocks : \.data)
        default: break
        }
        return true
      }
    }
  }

  private func addRecord(of chunk: Chunk, to picture: inout GroupPicture) {
    let group = survey.survey(chunk, verify: false, keepingEntries: true)
    picture.verdict = group.verdict
    let isTree = group.treeItems != nil
    let entries = isTree ? group.treeEntries : group.entries.map(\.entry)
    let sectorSize = reader.geometry.sectorSize
    // What a whole bitmap covers, a bit a sector.
    let bitmapLength =
      UInt64(isTree ? FreeSpaceTreeLayout.bitmapSize : CacheLayout.pageSize) * 8 * sectorSize
    for entry in entries {
      if entry.kind == .bitmap {
        picture.bitmapCount += 1
        let end = chunk.end.rawValue
        let covered = min(bitmapLength, end > entry.offset ? end - entry.offset : 0)
        picture.spread(
          entry.offset, covered, bytes: min(entry.bytes, covered), to: \.inBitmaps)
      } else {
        picture.extentCount += 1
        picture.add(entry.offset, entry.bytes, to: \.inExtents)
      }
    }
  }
}

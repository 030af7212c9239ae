import FreeSpace

/// Says what is free in a block group, from a record of it rather than from the extent tree.
/// What it says may be as old as the mount, or as the moment at which the group was let go of: see
/// `BlockGroup+Loading`.
package protocol FreeSpaceLoader: AnyObject, Sendable {
  func freeSpace(of group: BlockGroup) throws(FilesystemError) -> RecordedFreeSpace

  /// What the record says of the group is wrong: it is to be replaced, whether the group changes
  /// or not. Called with no lock held but `reservation`.
  func distrust(_ group: BlockGroup)

  /// The value of the group's `changeCount` as of which the record is exact, whole and durable, so that
  /// what is in memory may be forgotten; nil when there is none. Called with no lock held but
  /// `reservation`.
  func changeInRecord(of group: BlockGroup) -> UInt64?
}

package enum RecordedFreeSpace {
  case found(FreeSpaceIndex)
  /// There is no record, or one that its writer has disowned.
  case unknown
  /// There is one that must not be believed; why is in the log.
  case wrong
}

/// Finds a group's free space in the extent tree: whatever no extent item covers is free.
package struct ExtentTreeScan {
  private let extentTree: Tree
  private let geometry: Geometry

  package init(extentTree: Tree, geometry: Geometry) {
    self.extentTree = extentTree
    self.geometry = geometry
  }

  /// Free space, superblock copies excluded. Throws when extents overlap or leave the group.
  package func freeSpace(of group: BlockGroup) throws(FilesystemError) -> FreeSpaceIndex {
    let index = try gaps(of: group)
    do throws(FreeSpaceError) {
      for range in group.superblockRanges { try index.clear(range.start.rawValue, range.length) }
    } catch {
      throw FilesystemError(error, group: group.start)
    }
    return index
  }

  /// All that no extent covers. Throws when extents overlap or leave the group.
  package func gaps(of group: BlockGroup) throws(FilesystemError) -> FreeSpaceIndex {
    let index = group.emptyIndex()
    var position = group.start
    try forEachExtent(in: group) { address, length throws(FilesystemError) in
      guard address >= position, group.contains(address, length) else {
        throw .corrupt("extent \(address) of \(length) bytes overlaps another or its block group")
      }
      try addGap(from: position, to: address, index, group)
      position = address + length
      return true
    }
    try addGap(from: position, to: group.end, index, group)
    return index
  }

  private func addGap(
    from start: LogicalAddress, to end: LogicalAddress, _ index: FreeSpaceIndex,
    _ group: BlockGroup
  ) throws(FilesystemError) {
    guard start < end else { return }
    do throws(FreeSpaceError) {
      try index.add(offset: start.rawValue, length: end - start)
    } catch {
      throw FilesystemError(error, group: group.start)
    }
  }

  /// Calls `body` with each extent that begins in the group, in ascending order.
  package func forEachExtent(
    in group: BlockGroup,
    _ body: (LogicalAddress, UInt64) throws(FilesystemError) -> Bool
  ) throws(FilesystemError) {
    let first = Key(ObjectID(group.start.rawValue), .untyped, 0)
    let last = Key(ObjectID(group.end.rawValue - 1), ItemType(.max), .max)
    let nodeSize = geometry.nodeSize
    try extentTree.forEach(from: first, through: last) { key, _ throws(FilesystemError) in
      switch key.type {
      case .extentItem: try body(LogicalAddress(key.objectID.rawValue), key.offset)
      case .metadataItem: try body(LogicalAddress(key.objectID.rawValue), nodeSize)
      default: true
      }
    }
  }
}

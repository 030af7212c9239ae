import FreeSpace

/// What the free space tree holds of one block group: read, changed, written anew.
///
/// 1. Changes are made only to items that `read` has found right, or that `write` has written: so
///    a key that is moved stays between its neighbours.
/// 2. After `apply` or `write` the items are maximal ranges in one form, and the info counts them.
/// 3. The handle is whole before and after each change of one item. So an error that leaves it whole
///    leaves a tree that is as it should be, with items of this group that must be written anew;
///    any other error has to abort the volume. `.corrupt` may mean that the items were wrong.
struct FreeSpaceTreeGroup {
  let tree: Tree
  let layout: FreeSpaceTreeLayout

  init(_ tree: Tree, _ layout: FreeSpaceTreeLayout) {
    self.tree = tree
    self.layout = layout
  }

  init(_ tree: Tree, _ group: BlockGroup) {
    self.init(tree, Self.layout(of: group))
  }

  static func layout(of group: BlockGroup) -> FreeSpaceTreeLayout {
    FreeSpaceTreeLayout(
      start: group.start.rawValue, length: group.length, sectorSize: group.sectorSize)
  }

  /// What is free by the items, with superblock copies. Checks every rule.
  func read() throws(FilesystemError) -> (index: FreeSpaceIndex, info: FreeSpaceInfo) {
    try items().finish()
  }

  /// Whether all blocks with items of the group can be read, whatever the items are.
  var isReadable: Bool {
    do throws(FilesystemError) {
      try tree.forEach(from: layout.firstKey, through: layout.lastKey) {
        _, _ throws(FilesystemError) in true
      }
      return true
    } catch {
      return false
    }
  }

  private func items() throws(FilesystemError) -> FreeSpaceItems {
    var items = FreeSpaceItems(layout)
    try tree.forEach(from: layout.firstKey, through: layout.lastKey) {
      key, bytes throws(FilesystemError) in
      try items.add(key, bytes)
      return true
    }
    return items
  }

  func info() throws(FilesystemError) -> FreeSpaceInfo {
    let info = try tree.find(layout.infoKey) { bytes throws(FilesystemError) in
      try FreeSpaceInfo(bytes)
    }
    guard let info else { throw .corrupt("it has no items") }
    return info
  }

  /// Makes what was freed free, and what was taken not. Goes over to the other form when there are
  /// many ranges, or few again.
  func apply(
    _ changes: SpaceChanges, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let info = try info()
    var count = Int(info.extentCount)
    // Closures that throw cannot take a handle that is only borrowed.
    for (range, isFreed) in changes.ranges {
      if info.usesBitmaps {
        count += try flip(range, toFree: isFreed, in: handle)
      } else if isFreed {
        count += try free(range, in: handle)
      } else {
        count += try take(range, in: handle)
      }
    }

    guard let newCount = UInt32(exactly: count) else {
      throw .corrupt("\(count) free ranges")
    }
    if info.usesBitmaps ? count < layout.fewestInBitmaps : count > layout.mostExtents {
      // The info still has the old count, so that it is no judge now.
      return try write(items().ranges, usesBitmaps: !info.usesBitmaps, in: handle)
    }
    guard newCount != info.extentCount else { return }
    let newInfo = FreeSpaceInfo(extentCount: newCount, usesBitmaps: info.usesBitmaps)
    _ = try tree.modify(layout.infoKey, in: handle) { bytes throws(FilesystemError) in
      newInfo.encode(into: bytes)
    }
    handle.noteWhole()
  }

  /// Writes all items anew.
  ///
  /// - Parameter usesBitmaps: nil for whichever form takes less room.
  func write(
    _ index: FreeSpaceIndex, usesBitmaps: Bool? = nil, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    try remove(in: handle)
    let count = index.rangeCount
    let usesBitmaps = usesBitmaps ?? (UInt64(count) > layout.mostExtents)
    let info = FreeSpaceInfo(extentCount: UInt32(clamping: count), usesBitmaps: usesBitmaps)
    try tree.insert(layout.infoKey, size: FreeSpaceInfo.size, in: handle) { info.encode(into: $0) }
    handle.noteWhole()
    if usesBitmaps { return try writeBitmaps(index, in: handle) }

    var position = layout.start
    while let range = index.nextRange(from: position, atLeast: 1) {
      position = range.offset + range.length
      try tree.insert(layout.extentKey(range.offset..<position), size: 0, in: handle) { _ in }
      handle.noteWhole()
    }
  }

  private func writeBitmaps(
    _ index: FreeSpaceIndex, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    var start = layout.start
    while start < layout.end {
      let bitmap = layout.bitmap(at: start)
      let end = bitmap.start + bitmap.length
      let size = layout.bitmapSize(length: bitmap.length)
      try tree.insert(layout.bitmapKey(bitmap), size: size, in: handle) { bytes in
        bytes.zero()
        var position = start
        while let range = index.nextRange(from: position, atLeast: 1), range.offset < end {
          position = min(range.offset + range.length, end)
          let bits = FreeSpaceBits(bytes)
          bits.set(layout.sectors(range.offset..<position, of: bitmap.start))
        }
      }
      handle.noteWhole()
      start = end
    }
  }

  /// Removes all items that stand in the group's range, whatever they are, one by one: the handle is
  /// whole before and after each. Some may be gone when an error is thrown.
  func remove(in handle: borrowing TransactionHandle) throws(FilesystemError) {
    while true {
      var keys: [Key] = []
      try tree.forEach(from: layout.firstKey, through: layout.lastKey) {
        key, _ throws(FilesystemError) in
        keys.append(key)
        return keys.count < 512
      }
      if keys.isEmpty { return }
      // From the end: the leaf's other items need not move.
      for key in keys.reversed() {
        // Leaves of a hostile image may overlap, so that a search does not find what a walk does.
        guard try tree.delete(key, in: handle) else { throw .corrupt("\(key) is misplaced") }
        handle.noteWhole()
      }
    }
  }
}

extension SpaceChanges {
  /// All ranges: first what was freed, then what was taken.
  var ranges: [(range: Range<UInt64>, isFreed: Bool)] {
    var ranges: [(range: Range<UInt64>, isFreed: Bool)] = []
    forEachFreed { (offset, length) throws(Never) in
      ranges.append((offset..<offset + length, true))
    }
    forEachTaken { (offset, length) throws(Never) in
      ranges.append((offset..<offset + length, false))
    }
    return ranges
  }
}

import FreeSpace

/// The free space tree, a group at a time.
extension CacheSurvey {
  /// A group's items in the free space tree.
  package struct TreeItems: Sendable {
    package var info: FreeSpaceInfo?
    /// Extents and bitmaps.
    package var count: UInt64 = 0

    package var usesBitmaps: Bool { info?.usesBitmaps ?? false }
    package var extentCount: UInt64 { usesBitmaps ? 0 : count }
    package var bitmapCount: UInt64 { usesBitmaps ? count : 0 }
  }

  /// Which record of free space the image has.
  package enum Record: String, Sendable {
    case cacheFiles = "v1"
    case freeSpaceTree = "v2"
    case none
  }

  package var record: Record {
    let superblock = reader.superblock
    if superblock.readOnlyFeatures.contains(.freeSpaceTree) { return .freeSpaceTree }
    return superblock.cacheGeneration == 0 ? .none : .cacheFiles
  }

  /// Holds a group's items against all that makes them believable. Returns what they say is free,
  /// without superblock copies; nil unless they are whole.
  func readTree(_ group: inout Group, keepingEntries: Bool) -> FreeSpaceIndex? {
    group.verdict = .valid
    if let doubt = generalDoubt { group.find(.stale, doubt) }
    let sectorSize = reader.geometry.sectorSize
    guard let freeSpaceTree,
      FreeSpaceIndex.canDescribe(
        start: group.start.rawValue, length: group.length, sectorSize: sectorSize)
    else {
      group.find(.wrong, "the free space tree cannot be read")
      return nil
    }

    let layout = FreeSpaceTreeLayout(
      start: group.start.rawValue, length: group.length, sectorSize: sectorSize)
    var items = FreeSpaceItems(layout)
    var listed = TreeItems()
    var entries: [CacheEntry] = []
    var fault: FilesystemError?
    let problemsBefore = reader.problemCount
    note { () throws(FilesystemError) in
      try reader.walk(freeSpaceTree, from: layout.firstKey, through: layout.lastKey) {
        (key, bytes) throws(FilesystemError) in
        if key.type != .freeSpaceInfo { listed.count += 1 }
        if keepingEntries, let entry = Self.entry(key, bytes, sectorSize) { entries.append(entry) }
        do throws(FilesystemError) {
          if fault == nil { try items.add(key, bytes) }
        } catch {
          fault = error
        }
        return true
      }
    }
    listed.info = items.info
    group.treeItems = listed
    group.treeEntries = entries
    guard reader.problemCount == problemsBefore else {
      group.find(.wrong, "the free space tree is damaged there")
      return nil
    }
    do throws(FilesystemError) {
      if let fault { throw fault }
      return try withoutSuperblocks(items.finish().index, &group)
    } catch {
      group.find(.wrong, "\(error)")
      return nil
    }
  }

  private static func entry(_ key: Key, _ bytes: RawSpan, _ sectorSize: UInt64) -> CacheEntry? {
    let start = key.objectID.rawValue
    switch key.type {
    case .freeSpaceExtent: return CacheEntry(offset: start, bytes: key.offset, kind: .extent)
    case .freeSpaceBitmap:
      var count: UInt64 = 0
      for index in 0..<bytes.byteCount { count += UInt64(bytes.u8(index).nonzeroBitCount) }
      return CacheEntry(offset: start, bytes: count * sectorSize, kind: .bitmap)
    default: return nil
    }
  }

  /// In the tree the places of superblock copies are free, though nothing is ever put there.
  private func withoutSuperblocks(
    _ index: FreeSpaceIndex, _ group: inout Group
  ) throws(FilesystemError) -> FreeSpaceIndex {
    for range in group.chunk.superblockRanges {
      do throws(FreeSpaceError) {
        try index.remove(offset: range.start.rawValue, length: range.length)
      } catch {
        throw .corrupt("the place of a superblock copy at \(range.start) is not free")
      }
    }
    group.freeBytes = index.freeBytes
    group.largestRun = index.largestRun
    let taken = group.used.addingReportingOverflow(group.excludedBytes)
    guard !taken.overflow, taken.partialValue <= group.length,
      index.freeBytes == group.length - taken.partialValue
    else { throw .corrupt("\(index.freeBytes) free bytes are not what the group does not use") }
    group.isWhole = true
    return index
  }
}

import FreeSpace

/// The extent tree as the judge of a cache.
extension CacheSurvey {
  func compare(_ content: FreeSpaceIndex?, _ group: inout Group) {
    guard let extentTree,
      FreeSpaceIndex.canDescribe(
        start: group.start.rawValue, length: group.length,
        sectorSize: reader.geometry.sectorSize)
    else { return }
    var comparison = Comparison()
    let truth = freeSpace(of: group, in: extentTree, &comparison)
    comparison.freeBytes = truth.freeBytes
    comparison.largestRun = truth.largestRun
    comparison.freeRangeCount = truth.rangeCount
    if comparison.usedBytes != group.used, !comparison.isIncomplete {
      reader.note(
        "block group \(group.start): its item counts \(group.used) bytes as used, "
          + "the extent tree \(comparison.usedBytes)")
    }

    if let content {
      comparison.usedButListed = Self.ranges(of: content, missingIn: truth)
      comparison.freeButMissing = Self.ranges(of: truth, missingIn: content)
      if comparison.isIncomplete {
        reader.note("block group \(group.start): the extent tree is damaged, no judge of a cache")
      } else if !comparison.agrees {
        group.find(
          group.verdict == .valid ? .wrong : group.verdict,
          "the extent tree differs: \(comparison.usedButListed.bytes) bytes listed as free are "
            + "in use, \(comparison.freeButMissing.bytes) free ones are not listed")
      }
    }
    group.comparison = comparison
  }

  /// All of the group, less its extents and what is kept for superblock copies.
  private func freeSpace(
    of group: Group, in extentTree: BlockPointer, _ comparison: inout Comparison
  ) -> FreeSpaceIndex {
    let sectorSize = reader.geometry.sectorSize
    let index = FreeSpaceIndex(
      start: group.start.rawValue, length: group.length, sectorSize: sectorSize)
    func change(_ what: String, _ body: () throws(FreeSpaceError) -> Void) {
      do throws(FreeSpaceError) {
        try body()
      } catch {
        reader.note("block group \(group.start): there can be no \(what)")
      }
    }
    change("free space") { () throws(FreeSpaceError) in
      try index.add(offset: index.start, length: index.length)
    }
    for range in group.chunk.superblockRanges {
      change("superblock copy at \(range.start)") { () throws(FreeSpaceError) in
        try index.remove(offset: range.start.rawValue, length: range.length)
      }
    }

    let problemsBefore = reader.problemCount
    var used: UInt64 = 0
    note { () throws(FilesystemError) in
      try reader.walk(
        extentTree, from: Key(ObjectID(group.start.rawValue), .extentItem, 0),
        through: Key(ObjectID(group.chunk.end.rawValue - 1), .metadataItem, .max)
      ) { (key, _) throws(FilesystemError) in
        guard key.type == .extentItem || key.type == .metadataItem else { return true }
        let length = key.type == .metadataItem ? reader.geometry.nodeSize : key.offset
        used = used.addingReportingOverflow(length).partialValue
        change("extent \(key)") { () throws(FreeSpaceError) in
          try index.remove(offset: key.objectID.rawValue, length: length)
        }
        return true
      }
    }
    comparison.usedBytes = used
    comparison.isIncomplete = reader.problemCount > problemsBefore
    return index
  }

  /// The parts that are free in `one` and not in `other`.
  private static func ranges(
    of one: FreeSpaceIndex, missingIn other: FreeSpaceIndex
  ) -> Ranges {
    var missing = Ranges()
    one.forEachRange { (offset, length) throws(Never) in
      var position = offset
      let end = offset + length
      while position < end {
        let next = other.nextRange(from: position, atLeast: one.sectorSize)
        let freeFrom = min(next?.offset ?? end, end)
        if freeFrom > position { missing.add(position, freeFrom - position) }
        guard let next, next.offset < end else { break }
        position = next.offset + next.length
      }
    }
    return missing
  }
}

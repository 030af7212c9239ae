import FreeSpace

/// Where the caches' files stand.
extension CacheFiles {
  package func holdings() throws(FilesystemError) -> [LogicalAddress: RecordHolding] {
    var holdings: [LogicalAddress: RecordHolding] = [:]
    for owner in space.groups.all where owner.isCacheable {
      guard let inode = try FreeSpaceInode.find(of: owner.start, in: trees.root) else { continue }
      // A cache has few extents: what has more is none.
      var extents = 0
      try trees.root.forEach(from: inode.extentKey(0), through: inode.extentKey(.max)) {
        _, bytes throws(FilesystemError) in
        let extent = try FileExtentItem(bytes)
        if extent.hasExtent,
          let group = try? space.groups.group(
            containing: extent.diskAddress, extent.diskLength)
        {
          var holding = holdings[group.start] ?? RecordHolding()
          // An image may have any number of items that name the same place.
          let (sum, overflow) = holding.bytes.addingReportingOverflow(extent.diskLength)
          holding.bytes = overflow ? .max : sum
          holding.files.insert(inode.number)
          if holding.owners.last !== owner { holding.owners.append(owner) }
          holdings[group.start] = holding
          extents += 1
        }
        return extents <= CacheLayout.maximumPageCount
      }
    }
    return holdings
  }
}

/// Where the caches' files stand.
extension CacheFiles {
  package func holdings() throws(FilesystemError) -> [LogicalAddress: RecordHolding] {
    var holdings: [LogicalAddress: RecordHolding] = [:]
    for owner in space.groups.all where owner.isCacheable {
      guard let inode = try FreeSpaceInode.find(of: owner.start, in: trees.root) else { continue }
      try trees.root.forEach(from: inode.extentKey(0), through: inode.extentKey(.max)) {
        _, bytes throws(FilesystemError) in
        let extent = try FileExtentItem(bytes)
        if extent.hasExtent,
          let group = try? space.groups.group(containing: extent.diskAddress)
        {
          holdings[group.start, default: RecordHolding()].bytes += extent.diskLength
          holdings[group.start]?.owners.append(owner)
        }
        return true
      }
    }
    return holdings
  }
}

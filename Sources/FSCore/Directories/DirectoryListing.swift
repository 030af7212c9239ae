/// Reading a directory in the order of its index numbers.
enum DirectoryListing {
  struct Entry {
    let index: UInt64
    let location: DirectoryEntries.Location
    let name: [UInt8]
  }

  /// At most `limit` entries, the first with index `first` or above.
  static func entries(
    of directory: Inode, from first: UInt64, through last: UInt64, limit: Int
  ) throws(FilesystemError) -> [Entry] {
    var entries: [Entry] = []
    guard !directory.isStub, first <= last else { return entries }
    entries.reserveCapacity(limit)
    try directory.tree.forEach(
      from: DirectoryEntries.indexKey(directory, first),
      through: DirectoryEntries.indexKey(directory, last)
    ) { (key, bytes) throws(FilesystemError) in
      let entry = try PackedEntry(bytes, at: 0)
      entries.append(
        Entry(
          index: key.offset,
          location: DirectoryEntries.Location(key: entry.location, type: entry.type),
          name: bytes.array(entry.nameOffset, entry.nameLength)))
      return entries.count < limit
    }
    return entries
  }
}

/// Entries of a directory in the order of their index numbers, read in one go. Their names stand
/// in one piece of memory, each followed by a zero byte, so that a name costs no allocation.
struct DirectoryListing {
  struct Entry {
    let index: UInt64
    let location: DirectoryEntries.Location
    fileprivate let nameStart: Int
    fileprivate let nameLength: Int
  }

  private(set) var entries: ContiguousArray<Entry> = []
  private var names: ContiguousArray<UInt8> = []

  /// At most `limit` entries, the first with index `first` or above.
  init(
    of directory: Inode, from first: UInt64, through last: UInt64, limit: Int
  ) throws(FilesystemError) {
    guard !directory.isStub, first <= last else { return }
    entries.reserveCapacity(limit)
    names.reserveCapacity(limit * 24)
    try directory.tree.forEach(
      from: DirectoryEntries.indexKey(directory, first),
      through: DirectoryEntries.indexKey(directory, last)
    ) { (key, bytes) throws(FilesystemError) in
      let entry = try PackedEntry(bytes, at: 0)
      entries.append(
        Entry(
          index: key.offset,
          location: DirectoryEntries.Location(key: entry.location, type: entry.type),
          nameStart: names.count, nameLength: entry.nameLength))
      bytes.extracting(entry.nameOffset..<entry.valueOffset).withUnsafeBytes {
        names.append(contentsOf: $0)
      }
      names.append(0)
      return entries.count < limit
    }
  }

  /// Calls `body` with each entry and the bytes of its name, until it returns false.
  func forEach(
    _ body: (Int, Entry, UnsafeRawBufferPointer) throws(FilesystemError) -> Bool
  ) throws(FilesystemError) {
    // `withUnsafeBytes` knows no typed errors.
    let result = names.withUnsafeBytes { names -> Result<Void, FilesystemError> in
      do throws(FilesystemError) {
        for number in entries.indices {
          let entry = entries[number]
          let name = names.part(entry.nameStart, entry.nameLength)
          guard try body(number, entry, name) else { break }
        }
        return .success(())
      } catch {
        return .failure(error)
      }
    }
    try result.get()
  }

  /// What the tree holds of the inodes that the entries lead to, in one pass over neighbouring
  /// items; nil for a subvolume, for what is not there, and for what is damaged.
  func inodeItems(in tree: Tree) throws(FilesystemError) -> ContiguousArray<InodeItem?> {
    var items = ContiguousArray<InodeItem?>(repeating: nil, count: entries.count)
    // Mostly so already: an inode that is made later has the higher number and the higher index.
    var order = ContiguousArray(entries.indices)
    let isSorted = entries.indices.dropFirst().allSatisfy {
      entries[$0 - 1].location.key < entries[$0].location.key
    }
    if !isSorted { order.sort { entries[$0].location.key < entries[$1].location.key } }

    try tree.findEach(
      order.count, key: { entries[order[$0]].location.key }
    ) { (number, bytes) throws(FilesystemError) in
      let entry = entries[order[number]]
      guard entry.location.key.type == .inodeItem, let item = try? InodeItem(bytes) else { return }
      items[order[number]] = item
    }
    return items
  }
}

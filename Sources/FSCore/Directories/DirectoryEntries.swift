/// The names in a directory: a DIR_ITEM, found by the hash of the name, and a DIR_INDEX, which
/// gives the order of reading, for each (format §7.2).
///
/// 1. Every name has exactly one entry in each, with equal location and type, and a reference in
///    its inode with the index of the DIR_INDEX.
/// 2. Index numbers start at 2, and grow while the directory is in memory.
/// 3. The directory's size is twice the sum of the lengths of its names.
enum DirectoryEntries {
  static let firstIndex: UInt64 = 2

  /// What an entry leads to.
  struct Location: Equatable {
    /// INODE_ITEM of this subvolume, or ROOT_ITEM of another.
    let key: Key
    let type: EntryType

    var isSubvolume: Bool { key.type == .rootItem }
  }

  static func itemKey(_ directory: Inode, _ name: [UInt8]) -> Key {
    Key(directory.number, .dirItem, FormatHash.name(name))
  }

  static func indexKey(_ directory: Inode, _ index: UInt64) -> Key {
    Key(directory.number, .dirIndex, index)
  }

  /// What `name` leads to; nil when there is no such name. Needs no lock.
  static func find(
    _ name: [UInt8], in directory: Inode
  ) throws(FilesystemError) -> Location? {
    guard !directory.isStub else { return nil }
    return try directory.tree.find(itemKey(directory, name)) {
      (bytes) throws(FilesystemError) -> Location? in
      guard let entry = try PackedEntry.find(name, in: bytes) else { return nil }
      return Location(key: entry.location, type: entry.type)
    } ?? nil
  }

  // Index numbers. The directory is locked exclusively.

  /// The number that the next entry gets. It is used up by `didUseIndices`, not by asking.
  static func nextIndex(of directory: Inode) throws(FilesystemError) -> UInt64 {
    try findNextIndex(of: directory)
    guard directory.nextEntryIndex >= firstIndex, directory.nextEntryIndex < .max - 1 else {
      throw .noSpace
    }
    return directory.nextEntryIndex
  }

  /// The number of the newest entry, or a higher one.
  static func lastIndex(of directory: Inode) throws(FilesystemError) -> UInt64 {
    try findNextIndex(of: directory)
    return directory.nextEntryIndex &- 1
  }

  private static func findNextIndex(of directory: Inode) throws(FilesystemError) {
    directory.lock.assertHeldExclusively()
    if directory.nextEntryIndex == 0 {
      let number = directory.number
      let last = try directory.tree.findLast(
        atMost: Key(number, .dirIndex, UInt64.max)
      ) { (key, _) in
        key.objectID == number && key.type == .dirIndex ? key.offset : 0
      }
      directory.nextEntryIndex =
        max(last ?? 0, firstIndex - 1).addingReportingOverflow(1)
        .partialValue
    }
  }

  static func didUseIndices(_ count: UInt64, of directory: Inode) {
    directory.nextEntryIndex += count
  }

  /// Whether the DIR_INDEX with this number is that of `name`.
  static func isName(
    _ name: [UInt8], at index: UInt64, in directory: Inode
  ) throws(FilesystemError) -> Bool {
    try directory.tree.find(indexKey(directory, index)) {
      (bytes) throws(FilesystemError) -> Bool in
      try PackedEntry.find(name, in: bytes) != nil
    } ?? false
  }

  /// The index of a name of which no inode keeps a reference: by looking at all entries.
  static func searchIndex(
    of name: [UInt8], in directory: Inode
  ) throws(FilesystemError) -> UInt64? {
    var index: UInt64?
    try directory.tree.forEach(
      from: indexKey(directory, 0), through: indexKey(directory, UInt64.max)
    ) { (key, bytes) throws(FilesystemError) in
      guard try PackedEntry.find(name, in: bytes) != nil else { return true }
      index = key.offset
      return false
    }
    return index
  }

  // Changing.

  /// Inserts the DIR_ITEM of a name whose hash no other name of the directory has. Throws
  /// `.exists`, having changed nothing, when there is an item with this hash.
  static func insertItem(
    _ name: [UInt8], _ location: Location, in directory: Inode,
    _ handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    try insert(itemKey(directory, name), name, location, in: directory, handle)
  }

  static func insertIndex(
    _ name: [UInt8], _ location: Location, in directory: Inode, index: UInt64,
    _ handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    try insert(indexKey(directory, index), name, location, in: directory, handle)
  }

  private static func insert(
    _ key: Key, _ name: [UInt8], _ location: Location, in directory: Inode,
    _ handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let generation = handle.generation
    try directory.tree.insert(key, size: DirectoryEntry.fixedSize + name.count, in: handle) {
      PackedEntry.write(
        location: location.key, transactionID: generation, type: location.type, name: name,
        into: $0)
    }
  }

  /// The entry for `name` in its DIR_ITEM, changes made so far included.
  static func find(
    _ name: [UInt8], in directory: Inode, _ edits: inout ItemEdits
  ) throws(FilesystemError) -> Location? {
    try edits.find(in: itemKey(directory, name), directory.tree) {
      (bytes) throws(FilesystemError) in
      try PackedEntry.find(name, in: bytes).map { Location(key: $0.location, type: $0.type) }
    }
  }

  /// Prepares adding a name that is not there to its DIR_ITEM. Throws `.overflow` when names
  /// with this hash fill the item.
  static func addItem(
    _ name: [UInt8], _ location: Location, in directory: Inode, generation: Generation,
    _ edits: inout ItemEdits
  ) throws(FilesystemError) {
    let key = itemKey(directory, name)
    let others = try edits.bytes(of: key, directory.tree).count
    let size = DirectoryEntry.fixedSize + name.count
    guard others == 0 || others + size <= directory.subvolume.longestSharedItem else {
      throw .overflow
    }
    try edits.append(
      PackedEntry.encode(
        location: location.key, transactionID: generation, type: location.type, name: name),
      to: key, directory.tree)
  }

  /// Prepares taking a name out of its DIR_ITEM. Throws `.notFound` when it is not there.
  static func removeItem(
    _ name: [UInt8], in directory: Inode, _ edits: inout ItemEdits
  ) throws(FilesystemError) {
    let key = itemKey(directory, name)
    let entry = try edits.find(in: key, directory.tree) { (bytes) throws(FilesystemError) in
      try PackedEntry.find(name, in: bytes)
    }
    guard let entry else { throw .notFound }
    try edits.remove(entry.range, from: key, directory.tree)
  }

  /// Deletes a DIR_INDEX. That it is not there is no error: the name goes either way.
  static func deleteIndex(
    _ index: UInt64, in directory: Inode, _ handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    _ = try directory.tree.delete(indexKey(directory, index), in: handle)
  }
}

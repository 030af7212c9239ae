/// One entry of a directory, as reading it shows it.
package struct DirectoryRecord {
  /// Valid while the record is being shown; a zero byte follows.
  package let nameBytes: UnsafeRawBufferPointer
  package let id: InodeID
  /// What readdir gives for the inode's number; of a subvolume it is the subvolume's.
  package let number: UInt64
  package let type: EntryType
  /// Where reading goes on after this entry.
  package let nextCookie: UInt64
  /// When they were asked for, and there are any.
  package let attributes: Attributes?

  package var name: [UInt8] { Array(nameBytes) }
}

extension Namespace {
  /// The index of the newest entry: with it as `last`, `readDirectory` comes to an end even when
  /// the entries that it shows are renamed, and so go to the end, again and again.
  package func lastEntry(of id: InodeID) throws(FilesystemError) -> UInt64 {
    let directory = try inodes.inode(id)
    guard directory.isDirectory else { throw .notDirectory }
    guard !directory.isStub else { return 0 }
    return try InodeTable.exclusively(directory) { () throws(FilesystemError) in
      try DirectoryEntries.lastIndex(of: directory)
    }
  }

  /// Calls `body` with "." and "..", then every entry in the order of its index, from where
  /// `cookie` says (0 at first), until it returns false. An entry that is there from the first
  /// call to the last is shown once, whatever happens to others in between.
  ///
  /// `body` runs with no lock held.
  ///
  /// - Parameters:
  ///   - expecting: about how many entries are wanted.
  ///   - withAttributes: whether to show those of each inode too, but of "." and "..". No inode
  ///     is brought into memory for them.
  package func readDirectory(
    _ id: InodeID, from cookie: UInt64, through last: UInt64 = .max, expecting count: Int = 64,
    withAttributes: Bool = false,
    _ body: (DirectoryRecord) throws(FilesystemError) -> Bool
  ) throws(FilesystemError) {
    let directory = try inodes.inode(id)
    try directory.requireLiveDirectory()
    // The highest index has no cookie after it; no entry of a sound directory has it.
    let last = min(last, .max - 1)
    if try showDots(of: directory, from: cookie, body) {
      let limit = min(max(count, 16), 2048)
      var next = max(cookie, DirectoryEntries.firstIndex)
      while true {
        let list = try DirectoryListing(of: directory, from: next, through: last, limit: limit)
        let shown = try show(list, of: directory, withAttributes: withAttributes, body)
        guard shown == limit, let index = list.entries.last?.index else { break }
        next = index + 1
      }
    }
    attributes.touchAccessTime(directory)
  }

  /// Reads from the device what `readDirectory` will need from `cookie` on. For a thread that
  /// has answered one request, while the next is on its way.
  package func prefetchDirectory(_ id: InodeID, from cookie: UInt64) {
    guard let directory = inodes.loaded(id), directory.isDirectory, !directory.isStub else {
      return
    }
    // What fails here fails again, and is reported, when it is asked for.
    try? directory.tree.prefetchLeaves(
      from: DirectoryEntries.indexKey(directory, cookie),
      through: DirectoryEntries.indexKey(directory, .max), count: 8)
  }

  /// Returns whether to go on.
  private func showDots(
    of directory: Inode, from cookie: UInt64,
    _ body: (DirectoryRecord) throws(FilesystemError) -> Bool
  ) throws(FilesystemError) -> Bool {
    guard cookie <= 1 else { return true }
    let dot = UInt8(ascii: ".")
    var ids = [directory.id, directory.id]
    ids[1] = try parent(of: directory)
    let result = [dot, dot, 0].withUnsafeBytes { dots -> Result<Bool, FilesystemError> in
      do throws(FilesystemError) {
        for number in Int(cookie)...1 {
          let record = DirectoryRecord(
            nameBytes: dots.part(1 - number, number + 1), id: ids[number],
            number: ids[number].number.rawValue, type: .directory,
            nextCookie: UInt64(number + 1), attributes: nil)
          guard try body(record) else { return .success(false) }
        }
        return .success(true)
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  /// Returns how many entries were shown.
  private func show(
    _ list: DirectoryListing, of directory: Inode, withAttributes: Bool,
    _ body: (DirectoryRecord) throws(FilesystemError) -> Bool
  ) throws(FilesystemError) -> Int {
    let items = withAttributes ? try list.inodeItems(in: directory.tree) : []
    var shown = 0
    try list.forEach { (number, entry, name) throws(FilesystemError) in
      let location = entry.location
      var id = InodeID(tree: directory.id.tree, number: location.key.objectID)
      if location.key.type != .inodeItem || id.number.isStub {
        id = try self.id(at: location, Array(name), in: directory)
      }
      let attributes =
        withAttributes ? try? shownAttributes(of: id, items[number], in: directory) : nil
      let record = DirectoryRecord(
        nameBytes: name, id: id, number: location.key.objectID.rawValue, type: location.type,
        nextCookie: entry.index + 1, attributes: attributes)
      guard try body(record) else { return false }
      shown += 1
      return true
    }
    return shown
  }

  /// Attributes for a list. `item` is what the tree holds, looked up before: of an inode that is
  /// not in memory it is the truth. Throws for an inode that is gone, or damaged: the list goes
  /// on without, and a look at the name says more.
  private func shownAttributes(
    of id: InodeID, _ item: InodeItem?, in directory: Inode
  ) throws(FilesystemError) -> Attributes {
    if let inode = inodes.loaded(id) { return attributes.attributes(of: inode) }
    guard id.tree == directory.id.tree, !id.number.isStub else {
      return try attributes.attributes(of: id)
    }
    guard let item, EntryType(mode: item.mode) != nil else { throw .stale }
    return Attributes(id: id, item: item, blocks: attributes.blocks(of: item, buffered: 0))
  }
}

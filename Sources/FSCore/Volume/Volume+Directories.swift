/// One entry of a directory, as reading it shows it.
package struct DirectoryRecord: Sendable {
  package var name: [UInt8]
  package var id: InodeID
  /// What readdir gives for the inode's number; of a subvolume it is the subvolume's.
  package var number: UInt64
  package var type: EntryType
  /// Where reading goes on after this entry.
  package var nextCookie: UInt64
}

extension Volume {
  /// The index of the newest entry: with it as `last`, `readDirectory` comes to an end even when
  /// the entries that it shows are renamed, and so go to the end, again and again.
  package func lastEntry(of id: InodeID) throws(FilesystemError) -> UInt64 {
    let directory = try inodes.inode(id)
    guard directory.isDirectory else { throw .notDirectory }
    guard !directory.isStub else { return 0 }
    return try InodeTable.exclusively(directory) { () throws(FilesystemError) in
      try DirectoryEntries.nextIndex(of: directory) - 1
    }
  }

  /// Calls `body` with "." and "..", then every entry in the order of its index, from where
  /// `cookie` says (0 at first), until it returns false. An entry that is there from the first
  /// call to the last is shown once, whatever happens to others in between.
  ///
  /// `body` runs with no lock held.
  package func readDirectory(
    _ id: InodeID, from cookie: UInt64, through last: UInt64 = .max,
    _ body: (DirectoryRecord) throws(FilesystemError) -> Bool
  ) throws(FilesystemError) {
    let directory = try inodes.inode(id)
    try directory.requireLiveDirectory()
    if try showDots(of: directory, from: cookie, body) {
      try showEntries(of: directory, from: max(cookie, DirectoryEntries.firstIndex), last, body)
    }
    touchAccessTime(directory)
  }

  /// Returns whether to go on.
  private func showDots(
    of directory: Inode, from cookie: UInt64,
    _ body: (DirectoryRecord) throws(FilesystemError) -> Bool
  ) throws(FilesystemError) -> Bool {
    let dot = UInt8(ascii: ".")
    if cookie == 0 {
      let record = DirectoryRecord(
        name: [dot], id: directory.id, number: directory.number.rawValue, type: .directory,
        nextCookie: 1)
      guard try body(record) else { return false }
    }
    if cookie <= 1 {
      let parent = try parent(of: directory)
      let record = DirectoryRecord(
        name: [dot, dot], id: parent, number: parent.number.rawValue, type: .directory,
        nextCookie: 2)
      guard try body(record) else { return false }
    }
    return true
  }

  private func showEntries(
    of directory: Inode, from first: UInt64, _ last: UInt64,
    _ body: (DirectoryRecord) throws(FilesystemError) -> Bool
  ) throws(FilesystemError) {
    var next = first
    // Most directories are small, and most requests take what fits a page or two.
    var limit = 64
    while true {
      let entries = try DirectoryListing.entries(
        of: directory, from: next, through: last, limit: limit)
      for entry in entries {
        let record = DirectoryRecord(
          name: entry.name, id: try self.id(at: entry.location, entry.name, in: directory),
          number: entry.location.key.objectID.rawValue, type: entry.location.type,
          nextCookie: entry.index + 1)
        guard try body(record) else { return }
        next = entry.index + 1
      }
      guard entries.count == limit else { return }
      limit = 256
    }
  }
}

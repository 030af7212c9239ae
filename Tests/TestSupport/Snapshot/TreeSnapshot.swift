import Glibc

/// A whole directory tree, recorded so that another can be compared with it.
package struct TreeSnapshot: Sendable {
  /// In the order of their paths.
  package private(set) var entries: [SnapshotEntry] = []

  /// Everything below `root`, once all of it is on the device.
  package init(_ root: BytePath, sync: Bool = true) throws {
    if sync { try syncFileSystem(root.string) }
    var firstNames: [Inode: BytePath] = [:]
    var pending = [BytePath([])]
    while let path = pending.popLast() {
      let full = root.appending(path)
      var status = stat()
      try check("lstat \(path)") { full.withCPath { lstat($0, &status) } }
      var entry = try SnapshotEntry(path: path, at: full, status: status)
      if status.st_mode & S_IFMT == S_IFDIR {
        let names = try directoryNames(full)
        var order = ContentHash()
        for name in names { order.add(name) }
        entry.orderHash = order.value
        // Reversed, so that the walk, and with it who is the first name of an inode, follows the
        // names and not the directory's order.
        let sorted = names.sorted { $1.lexicographicallyPrecedes($0) }
        pending.append(contentsOf: sorted.map { path.appending($0) })
      } else if status.st_nlink > 1 {
        let inode = Inode(device: UInt64(status.st_dev), number: UInt64(status.st_ino))
        if let first = firstNames[inode] {
          entry.sameAs = first
        } else {
          firstNames[inode] = path
        }
      }
      entries.append(entry)
    }
    entries.sort { $0.path < $1.path }
  }

  private struct Inode: Hashable {
    let device: UInt64
    let number: UInt64
  }

  /// One number for everything that is compared.
  package var digest: UInt64 {
    var hash = ContentHash()
    for entry in entries { hash.add(Array(entry.line.utf8)) }
    return hash.value
  }

  package var totalBytes: Int {
    entries.reduce(0) { $0 + ($1.content == nil || $1.sameAs != nil ? 0 : $1.size) }
  }

  /// Readable lines, at most `limit`; empty when the trees are the same.
  package func differences(
    to other: TreeSnapshot, names: (String, String) = ("left", "right"), exactHoles: Bool = false,
    limit: Int = 40
  ) -> [String] {
    var found: [String] = []
    var mine = entries[...]
    var theirs = other.entries[...]
    while found.count < limit {
      guard let left = mine.first else {
        found += theirs.prefix(limit).map { "only in \(names.1): \($0.line)" }
        break
      }
      guard let right = theirs.first else {
        found += mine.prefix(limit).map { "only in \(names.0): \($0.line)" }
        break
      }
      if left.path < right.path {
        found.append("only in \(names.0): \(left.line)")
        mine.removeFirst()
      } else if right.path < left.path {
        found.append("only in \(names.1): \(right.line)")
        theirs.removeFirst()
      } else {
        for difference in left.differences(to: right, exactHoles: exactHoles) {
          found.append("\(left.path.bytes.isEmpty ? "." : left.path.description): \(difference)")
        }
        mine.removeFirst()
        theirs.removeFirst()
      }
    }
    return Array(found.prefix(limit))
  }

  /// Throws with the differences, if there are any.
  package func expectSame(
    as other: TreeSnapshot, names: (String, String), exactHoles: Bool = false
  ) throws {
    let found = differences(to: other, names: names, exactHoles: exactHoles)
    guard found.isEmpty else {
      throw TestFailure(
        "the trees differ (\(names.0) ≠ \(names.1)):\n" + found.joined(separator: "\n"))
    }
  }
}

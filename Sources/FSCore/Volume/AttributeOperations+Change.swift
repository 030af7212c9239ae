/// What to change of an inode's attributes.
package struct AttributeChanges: Sendable {
  package enum TimeChange: Sendable {
    case now
    case set(Timestamp)
  }

  /// Permission bits; the file type stays.
  package var mode: UInt32?
  package var uid: UInt32?
  package var gid: UInt32?
  package var size: UInt64?
  package var atime: TimeChange?
  package var mtime: TimeChange?
  /// Now, when it is not given.
  package var ctime: Timestamp?

  /// The size comes from ftruncate or O_TRUNC: the times change even when the size does not.
  package var touchesWhenSizeIsSame = false

  /// The caller is not of the file's group, and may not set set-group-ID bits.
  package var isByOutsider = false

  package init() {}
}

extension AttributeOperations {
  package func setAttributes(
    _ id: InodeID, _ changes: AttributeChanges
  ) throws(FilesystemError) -> Attributes {
    let inode = try inodes.inode(id)
    try requireWritable(inode)
    try InodeTable.exclusively(inode) { () throws(FilesystemError) in
      try requireFlagsAllow(changes, of: inode)
      var changes = changes
      if let size = changes.size {
        try apply(size, &changes, to: inode)
        if changes.isEmpty { return }
      }
      // Of a chown(2) to no user and no group nothing is left but that the inode was changed now.
      try apply(changes, to: inode)
    }
    return attributes(of: inode)
  }

  private func requireFlagsAllow(
    _ changes: AttributeChanges, of inode: Inode
  ) throws(FilesystemError) {
    // Setting both times to now is open to files that may but grow; and a program that had a
    // file open before it became immutable can still cut it, as with writing.
    var forbidden: InodeFlags = changes.touchesWhenSizeIsSame ? .append : [.immutable, .append]
    if changes.size == nil { forbidden = .immutable }
    var setsOthers = changes.mode != nil || changes.uid != nil || changes.gid != nil
    if case .set = changes.atime { setsOthers = true }
    if case .set = changes.mtime { setsOthers = true }
    if changes.size == nil, (changes.atime == nil) != (changes.mtime == nil) { setsOthers = true }
    try inode.requireFlagsAllow(unless: setsOthers ? [.immutable, .append] : forbidden)
  }

  private func apply(
    _ size: UInt64, _ changes: inout AttributeChanges, to inode: Inode
  ) throws(FilesystemError) {
    if inode.isDirectory { throw .isDirectory }
    guard inode.isRegular else { throw .invalidArgument("only a file has a size to set") }
    guard size <= UInt64(Int64.max) else { throw .fileTooLarge }

    let item = inode.attributes
    if size != item.size {
      // This sets the times as well.
      try files.changeSize(of: inode, to: size)
      changes.size = nil
      return
    }

    // With the size it has, too, what is allocated behind the end is given back.
    if item.flags.contains(.prealloc) { try files.changeSize(of: inode, to: size) }
    if changes.touchesWhenSizeIsSame { return }
    changes.size = nil
    guard item.flags.contains(.prealloc) else { return }
    if changes.mtime == nil { changes.mtime = .set(item.mtime) }
    if changes.ctime == nil { changes.ctime = item.ctime }
  }

  private func apply(_ changes: AttributeChanges, to inode: Inode) throws(FilesystemError) {
    let now = Timestamp.now
    var list: AccessControlList?
    if changes.mode != nil, !inode.isStub, inode.type != .symbolicLink {
      let name = AccessControlList.accessName
      if let bytes = try ExtendedAttributes.value(of: name, inode, isLocked: true) {
        list = try AccessControlList(bytes)
      }
    }

    try transactions.perform(reserving: list == nil ? 1 : 2) {
      (handle: borrowing TransactionHandle) throws(FilesystemError) in
      if let mode = changes.mode, var list {
        list.apply(mode: mode)
        var edits = ItemEdits()
        try ExtendedAttributes.set(
          AccessControlList.accessName, to: list.bytes, of: inode, generation: handle.generation,
          &edits)
        try edits.write(in: handle)
      }
      try inode.update(in: handle) { changes.apply(to: &$0, now: now) }
    }
  }
}

extension AttributeChanges {
  fileprivate var isEmpty: Bool {
    mode == nil && uid == nil && gid == nil && size == nil && atime == nil && mtime == nil
      && ctime == nil
  }

  /// All but the size itself.
  fileprivate func apply(to item: inout InodeItem, now: Timestamp) {
    let isDirectory = item.mode & 0o170000 == 0o040000
    if let mode {
      item.mode = item.mode & 0o170000 | mode & 0o7777
    } else if uid != nil || gid != nil, !isDirectory {
      item.dropPrivileges(isByOutsider)
    }
    if let uid { item.uid = uid }
    if let gid { item.gid = gid }
    if size != nil { item.mtime = now }
    switch atime {
    case .now: item.atime = now
    case .set(let time): item.atime = time
    case nil: break
    }
    switch mtime {
    case .now: item.mtime = now
    case .set(let time): item.mtime = time
    case nil: break
    }
    item.ctime = ctime ?? now
  }
}

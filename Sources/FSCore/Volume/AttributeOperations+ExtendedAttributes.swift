/// What setting an extended attribute has to find.
package enum AttributeCondition: Sendable {
  case any
  /// Fails with `.exists` when there is one.
  case create
  /// Fails with `.noAttribute` when there is none.
  case replace
}

extension AttributeOperations {
  package func getAttribute(
    _ id: InodeID, _ name: [UInt8]
  ) throws(FilesystemError) -> [UInt8] {
    let inode = try inodes.inode(id)
    let namespace = try AttributeNamespace(of: name)
    if inode.isStub, namespace != .accessControl {
      throw .unsupported("attributes of a directory that is not on disk")
    }
    guard let value = try ExtendedAttributes.value(of: name, inode) else { throw .noAttribute }
    return value
  }

  package func listAttributes(_ id: InodeID) throws(FilesystemError) -> [[UInt8]] {
    try ExtendedAttributes.names(try inodes.inode(id))
  }

  /// - Parameter isByOutsider: the caller is not of the group, and may not set set-group-ID bits.
  package func setAttribute(
    _ id: InodeID, _ name: [UInt8], _ value: [UInt8], _ condition: AttributeCondition = .any,
    isByOutsider: Bool = false
  ) throws(FilesystemError) {
    let inode = try inodes.inode(id)
    let namespace = try checkChange(of: name, inode)
    if namespace == .property { return try setProperty(name, value, condition, of: inode) }
    if namespace == .accessControl {
      return try setAccessControl(
        name, try AccessControlList(value), of: inode, isByOutsider: isByOutsider)
    }
    try change(inode) { (edits, generation) throws(FilesystemError) in
      try ExtendedAttributes.set(
        name, to: value, existing: condition.existing, of: inode, generation: generation, &edits)
    }
  }

  package func removeAttribute(_ id: InodeID, _ name: [UInt8]) throws(FilesystemError) {
    let inode = try inodes.inode(id)
    let namespace = try checkChange(of: name, inode)
    if namespace == .accessControl {
      return try setAccessControl(name, .none, of: inode, isByOutsider: false)
    }
    if namespace == .property, !inode.hasProperties { return }
    let flags: InodeFlags = namespace == .property ? .compression : []
    try change(inode, { $0.flags.subtract(flags) }) { (edits, _) throws(FilesystemError) in
      try ExtendedAttributes.remove(name, of: inode, &edits)
    }
  }

  private func checkChange(
    of name: [UInt8], _ inode: Inode
  ) throws(FilesystemError) -> AttributeNamespace {
    try requireWritable(inode)
    try inode.requireFlagsAllow(unless: [.immutable, .append])
    if inode.isStub { throw .unsupported("attributes of a directory that is not on disk") }
    return try AttributeNamespace(of: name)
  }

  /// Sets the one property that there is, and the flags that go with it. As with Linux an empty value
  /// takes it away, and what can have no property takes any, which does nothing.
  private func setProperty(
    _ name: [UInt8], _ value: [UInt8], _ condition: AttributeCondition, of inode: Inode
  ) throws(FilesystemError) {
    guard name == ExtendedAttributes.compressionProperty else {
      throw .invalidArgument("no such property")
    }
    let algorithm = FileExtentItem.Compression(property: value)
    guard value.isEmpty || algorithm != nil else {
      throw .invalidArgument("no such compression; it can be zlib, lzo, zstd or no")
    }
    guard inode.hasProperties else { return }

    let set: InodeFlags =
      switch algorithm {
      case nil: []
      case .some(.none): .noCompress
      case .some: .compress
      }
    let isWrittenInPlace: InodeFlags = [.noDataCow, .noDataSum]
    try change(
      inode,
      { item in
        item.flags.subtract(.compression)
        item.flags.formUnion(set)
      }
    ) { (edits, generation) throws(FilesystemError) in
      guard value.isEmpty || inode.attributes.flags.isDisjoint(with: isWrittenInPlace) else {
        throw .invalidArgument("what is written in place is not compressed")
      }
      guard let algorithm else {
        do throws(FilesystemError) {
          try ExtendedAttributes.remove(name, of: inode, &edits)
        } catch .noAttribute where condition != .replace {
          // There was none.
        } catch {
          throw error
        }
        return
      }
      features.note(algorithm)
      try ExtendedAttributes.set(
        name, to: value, existing: condition.existing, of: inode, generation: generation, &edits)
    }
  }

  /// Changes the attributes of an inode as `prepare` says, and what else goes with it.
  private func change(
    _ inode: Inode, _ also: (inout InodeItem) -> Void = { _ in },
    _ prepare: (inout ItemEdits, Generation) throws(FilesystemError) -> Void
  ) throws(FilesystemError) {
    try InodeTable.exclusively(inode) { () throws(FilesystemError) in
      let now = Timestamp.now
      try transactions.perform(reserving: 3) {
        (handle: borrowing TransactionHandle) throws(FilesystemError) in
        var edits = ItemEdits()
        try prepare(&edits, handle.generation)
        ExtendedAttributes.noteSome(inode)
        inode.defaultACL = .unknown
        try edits.write(in: handle)
        try inode.update(in: handle) { item in
          also(&item)
          item.ctime = now
        }
      }
    }
  }

  /// An access list that the mode can say is not kept: it goes into the mode.
  private func setAccessControl(
    _ name: [UInt8], _ list: AccessControlList, of inode: Inode, isByOutsider: Bool
  ) throws(FilesystemError) {
    let isDefault = name == AccessControlList.defaultName
    if inode.type == .symbolicLink { throw .unsupported("a symbolic link has no access list") }
    if isDefault && !inode.isDirectory && !list.entries.isEmpty { throw .notPermitted }

    let isKept = isDefault ? !list.entries.isEmpty : !list.isEquivalentToMode
    let setsMode = !isDefault && !list.entries.isEmpty
    let cleared: UInt32 = isByOutsider ? 0o2777 : 0o777
    try change(inode, { if setsMode { $0.mode = $0.mode & ~cleared | list.modeBits } }) {
      (edits, generation) throws(FilesystemError) in
      if isKept {
        try ExtendedAttributes.set(
          name, to: list.bytes, of: inode, generation: generation, &edits)
        return
      }
      do throws(FilesystemError) {
        try ExtendedAttributes.remove(name, of: inode, &edits)
      } catch .noAttribute {
        // There was none.
      } catch {
        throw error
      }
    }
  }
}

extension AttributeCondition {
  fileprivate var existing: ExtendedAttributes.Existing {
    switch self {
    case .any: .any
    case .create: .absent
    case .replace: .present
    }
  }
}

extension Inode {
  /// Compression is a matter of files, and directories hand it on.
  fileprivate var hasProperties: Bool { isRegular || isDirectory }
}

extension InodeFlags {
  /// What a property says of compression.
  fileprivate static let compression: Self = [.compress, .noCompress]
}

/// What the name of an extended attribute begins with.
enum AttributeNamespace {
  case user
  case trusted
  case security
  case accessControl
  /// Those of btrfs itself.
  case property

  private static let prefixes: [(prefix: [UInt8], namespace: AttributeNamespace)] = [
    ([UInt8]("user.".utf8), .user), ([UInt8]("trusted.".utf8), .trusted),
    ([UInt8]("security.".utf8), .security), ([UInt8]("btrfs.".utf8), .property),
  ]

  /// Throws `.unsupported` for what Linux has no handler for.
  init(of name: [UInt8]) throws(FilesystemError) {
    guard name.count <= Format.maximumNameLength else { throw .bufferTooSmall }
    for (prefix, namespace) in Self.prefixes where name.starts(with: prefix) {
      guard name.count > prefix.count else {
        throw .invalidArgument("an attribute without a name")
      }
      self = namespace
      return
    }
    guard name == AccessControlList.accessName || name == AccessControlList.defaultName else {
      throw .unsupported("no such kind of attribute")
    }
    self = .accessControl
  }
}

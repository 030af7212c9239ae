import Synchronization

/// The XATTR_ITEMs of an inode (format §7.5). What changes them needs the inode's lock held
/// exclusively.
enum ExtendedAttributes {
  /// What a new value has to find.
  enum Existing: Sendable {
    case any
    /// It must not be there yet.
    case absent
    case present
  }

  /// How new data are compressed.
  static let compressionProperty = [UInt8]("btrfs.compression".utf8)

  static func key(_ inode: ObjectID, _ name: [UInt8]) -> Key {
    Key(inode, .xattrItem, FormatHash.name(name))
  }

  /// Name and value together may be this long.
  static func longest(_ geometry: Geometry) -> Int {
    geometry.maximumItemSize - DirectoryEntry.fixedSize
  }

  private enum Presence {
    static let unknown: UInt8 = 0
    static let none: UInt8 = 1
    static let some: UInt8 = 2
  }

  /// The value of an attribute; nil when there is none of this name. The caller holds no lock
  /// of the inode, or says that it does.
  static func value(
    of name: [UInt8], _ inode: Inode, isLocked: Bool = false
  ) throws(FilesystemError) -> [UInt8]? {
    guard !inode.isStub else { return nil }
    switch inode.attributePresence.load(ordering: .acquiring) {
    case Presence.none: return nil
    case Presence.unknown:
      // The kernel asks for the capabilities of a file at every write: most have no attribute.
      let hasSome =
        isLocked
        ? try notePresence(inode)
        : try inode.lock.shared { () throws(FilesystemError) in try notePresence(inode) }
      if !hasSome { return nil }
    default: break
    }

    return try find(name, inode)
  }

  /// The same for a caller that cannot wait for the inode's lock, as one who holds it may wait for the
  /// caller. An attribute that is being set or removed meanwhile is found or not.
  static func valueWithoutLock(
    of name: [UInt8], _ inode: Inode
  ) throws(FilesystemError) -> [UInt8]? {
    if inode.attributePresence.load(ordering: .acquiring) == Presence.none { return nil }
    return try find(name, inode)
  }

  private static func find(
    _ name: [UInt8], _ inode: Inode
  ) throws(FilesystemError) -> [UInt8]? {
    try inode.tree.find(key(inode.number, name)) {
      (bytes) throws(FilesystemError) -> [UInt8]? in
      guard let entry = try PackedEntry.find(name, in: bytes) else { return nil }
      return bytes.array(entry.valueOffset, entry.valueLength)
    } ?? nil
  }

  private static func notePresence(_ inode: Inode) throws(FilesystemError) -> Bool {
    let first = try inode.tree.findFirst(atLeast: Key(inode.number, .xattrItem, 0)) {
      (key, _) in key
    }
    let hasSome = first?.objectID == inode.number && first?.type == .xattrItem
    inode.attributePresence.store(
      hasSome ? Presence.some : Presence.none, ordering: .releasing)
    return hasSome
  }

  /// Says that the inode is new: it has none.
  static func noteNone(_ inode: Inode) {
    inode.attributePresence.store(Presence.none, ordering: .releasing)
  }

  static func noteSome(_ inode: Inode) {
    inode.attributePresence.store(Presence.some, ordering: .releasing)
  }

  /// The names of all attributes, in the order of their items.
  static func names(_ inode: Inode) throws(FilesystemError) -> [[UInt8]] {
    var names: [[UInt8]] = []
    guard !inode.isStub else { return names }
    try inode.tree.forEach(
      from: Key(inode.number, .xattrItem, 0), through: Key(inode.number, .xattrItem, UInt64.max)
    ) { (_, bytes) throws(FilesystemError) in
      var offset = 0
      while offset < bytes.byteCount {
        let entry = try PackedEntry(bytes, at: offset)
        names.append(bytes.array(entry.nameOffset, entry.nameLength))
        offset = entry.range.upperBound
      }
      return true
    }
    return names
  }

  /// Prepares the setting of an attribute.
  ///
  /// Throws `.exists`, `.noAttribute` or `.attributeTooLarge` as the case may be.
  static func set(
    _ name: [UInt8], to value: [UInt8], existing: Existing = .any, of inode: Inode,
    generation: Generation, _ edits: inout ItemEdits
  ) throws(FilesystemError) {
    let key = key(inode.number, name)
    guard name.count + value.count <= longest(inode.subvolume.geometry) else {
      throw .attributeTooLarge
    }
    let old = try edits.find(in: key, inode.tree) { (bytes) throws(FilesystemError) in
      try PackedEntry.find(name, in: bytes)
    }
    switch existing {
    case .any: break
    case .absent: if old != nil { throw .exists }
    case .present: if old == nil { throw .noAttribute }
    }

    if let old { try edits.remove(old.range, from: key, inode.tree) }
    let entry = PackedEntry.encode(
      location: .zero, transactionID: generation, type: .extendedAttribute, name: name,
      value: value)
    let others = try edits.bytes(of: key, inode.tree).count
    guard others == 0 || others + entry.count <= inode.subvolume.longestSharedItem else {
      throw .attributeTooLarge
    }
    try edits.append(entry, to: key, inode.tree)
  }

  /// Prepares the removal of an attribute. Throws `.noAttribute` when there is none.
  static func remove(
    _ name: [UInt8], of inode: Inode, _ edits: inout ItemEdits
  ) throws(FilesystemError) {
    let key = key(inode.number, name)
    let old = try edits.find(in: key, inode.tree) { (bytes) throws(FilesystemError) in
      try PackedEntry.find(name, in: bytes)
    }
    guard let old else { throw .noAttribute }
    try edits.remove(old.range, from: key, inode.tree)
  }
}

/// The flags of a file that chattr(1) sets and lsattr(1) shows, by the numbers that they have for
/// all file systems of Linux.
package struct FileFlags: OptionSet, Hashable, Sendable {
  package let rawValue: UInt32
  package init(rawValue: UInt32) { self.rawValue = rawValue }

  package static let compress = Self(rawValue: 0x4)
  /// Every write is durable when it returns.
  package static let sync = Self(rawValue: 0x8)
  package static let immutable = Self(rawValue: 0x10)
  /// Bytes, and names in a directory, can be added, but not changed or removed.
  package static let append = Self(rawValue: 0x20)
  package static let noDump = Self(rawValue: 0x40)
  package static let noAtime = Self(rawValue: 0x80)
  package static let noCompress = Self(rawValue: 0x400)
  package static let dirSync = Self(rawValue: 0x1_0000)
  package static let noDataCow = Self(rawValue: 0x80_0000)

  package static let all: Self = [
    .compress, .sync, .immutable, .append, .noDump, .noAtime, .noCompress, .dirSync, .noDataCow,
  ]

  /// Those that file systems agree on.
  package static let common: Self = [.sync, .immutable, .append, .noDump, .noAtime]

  /// Those that only a privileged process may set and clear.
  package static let protecting: Self = [.immutable, .append]

  /// Those that an inode has by a flag of its own, and by that alone.
  private static let stored: [(shown: FileFlags, kept: InodeFlags)] = [
    (.compress, .compress), (.sync, .sync), (.immutable, .immutable), (.append, .append),
    (.noDump, .noDump), (.noAtime, .noAtime), (.noCompress, .noCompress), (.dirSync, .dirSync),
  ]

  /// What is shown of the flags of an inode.
  package init(_ flags: InodeFlags) {
    var result: Self = flags.contains(.noDataCow) ? .noDataCow : []
    for (shown, kept) in Self.stored where flags.contains(kept) { result.insert(shown) }
    if result.contains(.noCompress) { result.remove(.compress) }
    self = result
  }

  /// Without those that mean nothing for an inode of this type.
  func restricted(to type: EntryType) -> Self {
    switch type {
    case .directory: self
    case .regular: subtracting(.dirSync)
    default: intersection([.noDump, .noAtime])
    }
  }

  /// The flags of an inode that is to show these. What a file with content has of copy on write
  /// stays: its extents have checksums or have none.
  func applied(to old: InodeFlags, type: EntryType, isEmpty: Bool) -> InodeFlags {
    var result = old
    for (shown, kept) in Self.stored {
      if contains(shown) { result.insert(kept) } else { result.remove(kept) }
    }
    guard type == .directory || isEmpty else { return result }
    let affected: InodeFlags = type == .directory ? .noDataCow : [.noDataCow, .noDataSum]
    if contains(.noDataCow) { result.formUnion(affected) } else { result.subtract(affected) }
    return result
  }
}

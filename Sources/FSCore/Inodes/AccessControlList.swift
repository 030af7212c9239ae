/// A POSIX access control list, in the form in which it is an extended attribute: 4 bytes of
/// version, then 8 for each entry.
struct AccessControlList: Equatable {
  static let accessName = [UInt8]("system.posix_acl_access".utf8)
  static let defaultName = [UInt8]("system.posix_acl_default".utf8)

  enum Tag: UInt16 {
    case owner = 0x01
    case user = 0x02
    case owningGroup = 0x04
    case group = 0x08
    case mask = 0x10
    case other = 0x20
  }

  struct Entry: Equatable {
    var tag: Tag
    var permissions: UInt32
    /// Of a user or group; else all ones.
    var id: UInt32
  }

  private static let version: UInt32 = 2

  private(set) var entries: [Entry] = []

  /// Takes away the one there is.
  static let none = AccessControlList()

  private init() {}

  /// Throws when the bytes are no list, or one that breaks the rules: entries sorted by tag,
  /// each kind that there must be one of there once, a mask where users or groups are named.
  ///
  /// The list may be empty, as `none` is.
  init(_ bytes: [UInt8]) throws(FilesystemError) {
    guard bytes.count >= 4, (bytes.count - 4) % 8 == 0 else {
      throw .invalidArgument("not an access control list")
    }
    let raw = bytes.span.bytes
    guard raw.u32(0) == Self.version else {
      throw .unsupported("an access control list of version \(raw.u32(0))")
    }
    for offset in stride(from: 4, to: bytes.count, by: 8) {
      guard let tag = Tag(rawValue: raw.u16(offset)), raw.u16(offset + 2) <= 7 else {
        throw .invalidArgument("not an access control list")
      }
      let hasID = tag == .user || tag == .group
      let id = hasID ? raw.u32(offset + 4) : UInt32.max
      guard !hasID || id != .max else {
        throw .invalidArgument("an access control list without an id")
      }
      entries.append(Entry(tag: tag, permissions: UInt32(raw.u16(offset + 2)), id: id))
    }
    guard entries.isEmpty || isValid else {
      throw .invalidArgument("not an access control list")
    }
  }

  private var isValid: Bool {
    let tags = entries.map(\.tag)
    func count(_ tag: Tag) -> Int { tags.count { $0 == tag } }
    let namesSomebody = count(.user) + count(.group) > 0
    return zip(tags, tags.dropFirst()).allSatisfy { $0.rawValue <= $1.rawValue }
      && count(.owner) == 1 && count(.owningGroup) == 1 && count(.other) == 1
      && count(.mask) <= 1 && (count(.mask) == 1 || !namesSomebody)
  }

  var bytes: [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 4 + 8 * entries.count)
    bytes.withUnsafeMutableBytes { buffer in
      buffer.store(Self.version, at: 0)
      for (index, entry) in entries.enumerated() {
        buffer.store(entry.tag.rawValue, at: 4 + 8 * index)
        buffer.store(UInt16(entry.permissions), at: 6 + 8 * index)
        buffer.store(entry.id, at: 8 + 8 * index)
      }
    }
    return bytes
  }

  /// Whether the permission bits of a mode say all that the list says.
  var isEquivalentToMode: Bool {
    !entries.contains { $0.tag == .user || $0.tag == .group || $0.tag == .mask }
  }

  private func permissions(_ tag: Tag) -> UInt32? { entries.first { $0.tag == tag }?.permissions }

  /// The permission bits that go with the list: the mask stands for the group.
  var modeBits: UInt32 {
    (permissions(.owner) ?? 0) << 6
      | (permissions(.mask) ?? permissions(.owningGroup) ?? 0) << 3 | (permissions(.other) ?? 0)
  }

  /// Takes over the permission bits of `mode`, as chmod does.
  mutating func apply(mode: UInt32) {
    let groupTag: Tag = permissions(.mask) != nil ? .mask : .owningGroup
    for index in entries.indices {
      switch entries[index].tag {
      case .owner: entries[index].permissions = mode >> 6 & 7
      case groupTag: entries[index].permissions = mode >> 3 & 7
      case .other: entries[index].permissions = mode & 7
      default: break
      }
    }
  }

  /// Makes of a directory's default list the list of a new inode that was asked for with
  /// `mode`: neither grants what the other does not. Returns the mode that goes with it.
  mutating func restrict(toMode mode: UInt32) -> UInt32 {
    let groupTag: Tag = permissions(.mask) != nil ? .mask : .owningGroup
    for index in entries.indices {
      switch entries[index].tag {
      case .owner: entries[index].permissions &= mode >> 6 & 7
      case groupTag: entries[index].permissions &= mode >> 3 & 7
      case .other: entries[index].permissions &= mode & 7
      default: break
      }
    }
    return mode & ~0o777 | modeBits
  }
}

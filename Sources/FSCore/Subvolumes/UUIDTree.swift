/// Which subvolumes have a UUID: the tree 9 (format §6.6). An image may lack it; Linux then makes it.
struct UUIDTree {
  let tree: Tree

  /// What a UUID says of a subvolume.
  enum Kind {
    case own
    case received

    fileprivate var type: ItemType {
      switch self {
      case .own: .uuidSubvolume
      case .received: .uuidReceived
      }
    }
  }

  private static func key(_ uuid: UUIDBytes, _ kind: Kind) -> Key {
    Key(
      ObjectID(UInt64(truncatingIfNeeded: uuid.rawValue)), kind.type,
      UInt64(truncatingIfNeeded: uuid.rawValue >> 64))
  }

  /// The subvolumes that are listed for a UUID.
  func subvolumes(with uuid: UUIDBytes, _ kind: Kind) throws(FilesystemError) -> [UInt64] {
    try tree.find(Self.key(uuid, kind)) { (bytes) throws(FilesystemError) in
      guard bytes.byteCount % 8 == 0 else {
        throw .corrupt("an item of \(bytes.byteCount) bytes in the UUID tree")
      }
      return (0..<bytes.byteCount / 8).map { bytes.u64($0 * 8) }
    } ?? []
  }

  /// Lists a subvolume. One without such a UUID is not listed.
  func add(
    _ id: TreeID, _ uuid: UUIDBytes, _ kind: Kind, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    guard uuid != .zero else { return }
    var listed = try subvolumes(with: uuid, kind)
    guard !listed.contains(id.rawValue) else { return }
    listed.append(id.rawValue)
    // A hostile image may have filled it.
    guard listed.count * 8 <= tree.context.geometry.maximumItemSize else { return }
    try write(listed, Self.key(uuid, kind), in: handle)
  }

  /// Takes a subvolume off the list.
  func remove(
    _ id: TreeID, _ uuid: UUIDBytes, _ kind: Kind, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    guard uuid != .zero else { return }
    let listed = try subvolumes(with: uuid, kind)
    guard listed.contains(id.rawValue) else { return }
    try write(listed.filter { $0 != id.rawValue }, Self.key(uuid, kind), in: handle)
  }

  private func write(
    _ subvolumes: [UInt64], _ key: Key, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    guard !subvolumes.isEmpty else {
      _ = try tree.delete(key, in: handle)
      return
    }
    try tree.replace(key, size: 8 * subvolumes.count, in: handle) { bytes in
      for (number, id) in subvolumes.enumerated() { bytes.store(id, at: 8 * number) }
    }
  }
}

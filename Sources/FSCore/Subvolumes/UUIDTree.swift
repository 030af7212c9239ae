import Logging

/// Which subvolumes have a UUID: the tree 9 (format §6.6). An image may lack it; Linux then makes it.
struct UUIDTree {
  let tree: Tree
  let log: Logger

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

  /// Reads what `add` and `remove` of the same UUID read: before the first change, so that an error
  /// leaves everything as it was.
  func read(_ uuid: UUIDBytes, _ kind: Kind) throws(FilesystemError) {
    if uuid != .zero { _ = try subvolumes(with: uuid, kind) }
  }

  /// The subvolumes that are listed for a UUID; none where the list is malformed.
  func subvolumes(with uuid: UUIDBytes, _ kind: Kind) throws(FilesystemError) -> [UInt64] {
    let found = try tree.find(Self.key(uuid, kind)) {
      (bytes) throws(FilesystemError) -> (size: Int, listed: [UInt64]) in
      (bytes.byteCount, (0..<bytes.byteCount / 8).map { bytes.u64($0 * 8) })
    }
    guard let (size, listed) = found else { return [] }
    guard size % 8 == 0 else {
      log.warning("UUID \(uuid): its item of \(size) bytes in the UUID tree is no list")
      return []
    }
    return listed
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

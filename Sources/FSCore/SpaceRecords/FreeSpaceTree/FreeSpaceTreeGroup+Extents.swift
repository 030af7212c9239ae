/// Changing a group that is described by extents. Each says by how much the number of ranges
/// changes.
extension FreeSpaceTreeGroup {
  private func range(of key: Key) -> Range<UInt64>? {
    let start = key.objectID.rawValue
    guard key.type == .freeSpaceExtent, start >= layout.start, start < layout.end,
      key.offset > 0, key.offset <= layout.end - start
    else { return nil }
    return start..<start + key.offset
  }

  /// The last free range that begins at `address` or before it.
  private func range(atMost address: UInt64) throws(FilesystemError) -> Range<UInt64>? {
    let key = Key(ObjectID(address), .freeSpaceExtent, .max)
    return try tree.findLast(atMost: key) { key, _ throws(FilesystemError) in range(of: key) }
      ?? nil
  }

  /// The first free range that begins at `address` or after it.
  private func range(atLeast address: UInt64) throws(FilesystemError) -> Range<UInt64>? {
    let key = Key(ObjectID(address), .freeSpaceExtent, 0)
    return try tree.findFirst(atLeast: key) { key, _ throws(FilesystemError) in range(of: key) }
      ?? nil
  }

  func take(
    _ taken: Range<UInt64>, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Int {
    guard let old = try range(atMost: taken.lowerBound), old.upperBound >= taken.upperBound else {
      throw .corrupt("\(taken.count) bytes at \(taken.lowerBound) were allocated, and not free")
    }
    let left = old.lowerBound..<taken.lowerBound
    let right = taken.upperBound..<old.upperBound
    if left.isEmpty, right.isEmpty {
      try delete(old, in: handle)
      return -1
    }
    if left.isEmpty {
      try move(old, to: right, in: handle)
      return 0
    }
    try move(old, to: left, in: handle)
    if right.isEmpty { return 0 }
    try add(right, in: handle)
    return 1
  }

  func free(
    _ freed: Range<UInt64>, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Int {
    var left = try range(atMost: freed.lowerBound)
    var right = try range(atLeast: freed.lowerBound)
    guard left.map({ $0.upperBound <= freed.lowerBound }) ?? true,
      right.map({ $0.lowerBound >= freed.upperBound }) ?? true
    else { throw .corrupt("\(freed.count) bytes at \(freed.lowerBound) were freed, and are free") }
    if let end = left?.upperBound, end < freed.lowerBound { left = nil }
    if let start = right?.lowerBound, start > freed.upperBound { right = nil }

    switch (left, right) {
    case (nil, nil):
      try add(freed, in: handle)
      return 1
    case (let left?, nil):
      try move(left, to: left.lowerBound..<freed.upperBound, in: handle)
      return 0
    case (nil, let right?):
      try move(right, to: freed.lowerBound..<right.upperBound, in: handle)
      return 0
    case (let left?, let right?):
      try delete(right, in: handle)
      try move(left, to: left.lowerBound..<right.upperBound, in: handle)
      return -1
    }
  }

  private func add(
    _ range: Range<UInt64>, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    try tree.insert(layout.extentKey(range), size: 0, in: handle) { _ in }
    handle.noteWhole()
  }

  private func delete(
    _ range: Range<UInt64>, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    guard try tree.delete(layout.extentKey(range), in: handle) else {
      throw .corrupt("the free range at \(range.lowerBound) is gone")
    }
    handle.noteWhole()
  }

  private func move(
    _ old: Range<UInt64>, to new: Range<UInt64>, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let isFound = try tree.rekey(layout.extentKey(old), to: layout.extentKey(new), in: handle) {
      _ in
    }
    guard isFound else { throw .corrupt("the free range at \(old.lowerBound) is gone") }
    handle.noteWhole()
  }
}

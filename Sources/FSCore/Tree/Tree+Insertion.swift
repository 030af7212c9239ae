/// Changing. Each holds the tree's lock exclusive, and `fill` or `body` runs under it: no IO,
/// and only locks of higher rank.
extension Tree {
  /// Adds an item of `size` bytes, which `fill` writes all of. Throws `.exists` when there is
  /// one with this key, having changed nothing.
  package func insert(
    _ key: Key, size: Int, in handle: borrowing TransactionHandle,
    _ fill: (UnsafeMutableRawBufferPointer) -> Void
  ) throws(FilesystemError) {
    precondition(size <= context.geometry.maximumItemSize)
    try changing(key) { (path) throws(FilesystemError) in
      guard !path.isExact else { throw .exists }
      try makeWritable(&path, in: handle)
      try place(key, size: size, &path, in: handle)
      fill(path.leaf.mutableItem(path.slot))
    }
  }

  /// Adds two items as two calls of `insert` do; the second has the higher key. Where the first goes
  /// there is mostly a place for the second behind it, which then needs no search.
  package func insert(
    _ first: (key: Key, size: Int), _ second: (key: Key, size: Int),
    in handle: borrowing TransactionHandle,
    _ fillFirst: (UnsafeMutableRawBufferPointer) -> Void,
    _ fillSecond: (UnsafeMutableRawBufferPointer) -> Void
  ) throws(FilesystemError) {
    precondition(first.size <= context.geometry.maximumItemSize && first.key < second.key)
    let areBothThere = try changing(first.key) { (path) throws(FilesystemError) -> Bool in
      guard !path.isExact else { throw .exists }
      try makeWritable(&path, in: handle)
      try place(first.key, size: first.size, &path, in: handle)
      fillFirst(path.leaf.mutableItem(path.slot))
      guard placeBehind(path, second.key, size: second.size) else { return false }
      fillSecond(path.leaf.mutableItem(path.slot + 1))
      return true
    }
    if !areBothThere { try insert(second.key, size: second.size, in: handle, fillSecond) }
  }

  /// Makes room for an item right behind the path's slot. False when it does not fit into the leaf, or
  /// belongs elsewhere. All blocks of the path are writable.
  private func placeBehind(_ path: borrowing TreePath, _ key: Key, size: Int) -> Bool {
    let leaf = path.leaf
    let slot = path.slot + 1
    guard leaf.freeBytes >= size + Format.itemHeaderSize else { return false }
    if let next = slot < leaf.count ? leaf.key(slot) : path.endOfLeaf {
      guard key < next else { return false }
    }
    leaf.insertItem(slot, key, size: size)
    return true
  }

  /// Lets `body` change the bytes of an item in place; nil when there is no such item.
  package func modify<R>(
    _ key: Key, in handle: borrowing TransactionHandle,
    _ body: (UnsafeMutableRawBufferPointer) throws(FilesystemError) -> R
  ) throws(FilesystemError) -> R? {
    try changing(key) { (path) throws(FilesystemError) -> R? in
      guard path.isExact else { return nil }
      try makeWritable(&path, in: handle)
      return try body(path.leaf.mutableItem(path.slot))
    }
  }

  /// Lets `body` change the bytes of each item that there is for one of `count` keys, which `key`
  /// gives by number, in ascending order. Keys that are near each other share a search.
  ///
  /// The lock is held for one leaf at a time.
  package func modifyEach(
    _ count: Int, key: (Int) -> Key, in handle: borrowing TransactionHandle,
    _ body: (Int, UnsafeMutableRawBufferPointer) throws(FilesystemError) -> Void
  ) throws(FilesystemError) {
    var next = 0
    while next < count {
      next = try changing(key(next)) { (path) throws(FilesystemError) -> Int in
        guard path.leaf.count > 0 else { return count }
        let last = path.leaf.key(path.leaf.count - 1)
        var number = next
        var (slot, isFound) = (path.slot, path.isExact)
        var isWritable = false
        while true {
          if isFound {
            if !isWritable { try makeWritable(&path, in: handle) }
            isWritable = true
            try body(number, path.leaf.mutableItem(slot))
          }
          number += 1
          guard number < count else { return number }
          let wanted = key(number)
          guard wanted <= last else { return number }
          (slot, isFound) = path.leaf.lowerBound(wanted)
        }
      }
    }
  }

  /// Gives an item `size` bytes, all written by `fill`; adds it when there is none.
  package func replace(
    _ key: Key, size: Int, in handle: borrowing TransactionHandle,
    _ fill: (UnsafeMutableRawBufferPointer) -> Void
  ) throws(FilesystemError) {
    precondition(size <= context.geometry.maximumItemSize)
    try changing(key) { (path) throws(FilesystemError) in
      try makeWritable(&path, in: handle)
      if path.isExact {
        let leaf = path.leaf
        if size - leaf.itemSize(path.slot) <= leaf.freeBytes {
          leaf.resizeItem(path.slot, to: size)
          fill(leaf.mutableItem(path.slot))
          return
        }
        leaf.removeItem(path.slot)
      }
      try place(key, size: size, &path, in: handle)
      fill(path.leaf.mutableItem(path.slot))
    }
  }

  /// Changes the key of an item, and its bytes in place. The new key must fall between the same
  /// neighbours: else, as on a hostile image whose leaves overlap, `.corrupt` is thrown and nothing
  /// is changed. Returns whether there was such an item.
  @discardableResult
  package func rekey(
    _ key: Key, to newKey: Key, in handle: borrowing TransactionHandle,
    _ body: (UnsafeMutableRawBufferPointer) -> Void
  ) throws(FilesystemError) -> Bool {
    try changing(key) { (path) throws(FilesystemError) -> Bool in
      guard path.isExact else { return false }
      let leaf = path.leaf
      guard path.slot == 0 || leaf.key(path.slot - 1) < newKey,
        path.slot + 1 == leaf.count || newKey < leaf.key(path.slot + 1)
      else { throw .corrupt("tree \(id): \(key) has other neighbours than it should have") }
      try makeWritable(&path, in: handle)
      path.leaf.setKey(path.slot, newKey)
      if path.slot == 0 { updateParentKeys(path, from: 0) }
      body(path.leaf.mutableItem(path.slot))
      return true
    }
  }

  /// Makes room for an item at the path's slot, splitting the leaf if need be; the path then
  /// leads to it. All blocks of the path are writable.
  private func place(
    _ key: Key, size: Int, _ path: inout TreePath, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let need = size + Format.itemHeaderSize
    if path.leaf.freeBytes < need, try !pushLeft(toFit: need, &path, in: handle),
      try !pushRight(toFit: need, &path, in: handle)
    {
      try splitLeaf(for: key, size: size, &path, in: handle)
    }
    path.leaf.insertItem(path.slot, key, size: size)
    if path.slot == 0 { updateParentKeys(path, from: 0) }
  }

  /// Carries the first key of the path's block at `level` to the pointers above it.
  func updateParentKeys(_ path: borrowing TreePath, from level: Int) {
    let key = path.block(level).firstKey
    var above = level + 1
    while above <= path.rootLevel {
      path.block(above).setKey(path.slots[above], key)
      if path.slots[above] != 0 { return }
      above += 1
    }
  }

  /// Divides a leaf so that an item of `size` bytes fits where the path leads afterwards.
  private func splitLeaf(
    for key: Key, size: Int, _ path: inout TreePath, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let leaf = path.leaf
    let slot = path.slot
    let need = size + Format.itemHeaderSize
    guard leaf.count > 0 else { preconditionFailure("an empty leaf has room for any item") }

    guard let division = leafDivision(leaf, slot, need) else {
      // Large items on both sides: the new one gets a leaf of its own between them.
      let right = try makeBlock(level: 0, in: handle)
      leaf.moveItems(from: slot, number: leaf.count - slot, to: right, at: 0)
      try insertPointer(to: right, key: right.firstKey, level: 1, &path, follow: false, in: handle)
      let middle = try makeBlock(level: 0, in: handle)
      try insertPointer(to: middle, key: key, level: 1, &path, follow: true, in: handle)
      path.set(middle, 0)
      return
    }

    let right = try makeBlock(level: 0, in: handle)
    leaf.moveItems(
      from: division.at, number: leaf.count - division.at, to: right, at: 0)
    let firstKey = division.newGoesRight && division.at == slot ? key : right.firstKey
    try insertPointer(
      to: right, key: firstKey, level: 1, &path, follow: division.newGoesRight, in: handle)
    if division.newGoesRight {
      path.set(right, slot - division.at)
    }
  }

  /// Where to divide a full leaf: the slots from `at` on go to the right. Even by bytes, but an
  /// item that is appended begins a new leaf, and so does one before which the leaf is nearly full,
  /// so that ascending insertions leave full leaves.
  private func leafDivision(
    _ leaf: TreeBlock, _ slot: Int, _ need: Int
  ) -> (at: Int, newGoesRight: Bool)? {
    let count = leaf.count
    if slot == count { return (count, true) }

    let capacity = leaf.leafCapacity
    let total = leaf.usedBytes
    let before = leaf.bytes(ofItems: 0..<slot)
    if before >= capacity / 8 * 7, total - before + need <= capacity { return (slot, true) }

    var best: (at: Int, newGoesRight: Bool)?
    var bestDifference = Int.max
    func consider(_ at: Int, _ left: Int, newGoesRight: Bool) {
      let leftBytes = left + (newGoesRight ? 0 : need)
      let rightBytes = total - left + (newGoesRight ? need : 0)
      let isLeftEmpty = at == 0 && newGoesRight
      let isRightEmpty = at == count && !newGoesRight
      guard leftBytes <= capacity, rightBytes <= capacity, !isLeftEmpty, !isRightEmpty else {
        return
      }
      let difference = abs(leftBytes - rightBytes)
      if difference < bestDifference {
        bestDifference = difference
        best = (at, newGoesRight)
      }
    }

    var left = 0
    for at in 0...count {
      if at > 0 { left += leaf.itemSize(at - 1) + Format.itemHeaderSize }
      // The new item's neighbours decide its side, except right at the division.
      if slot <= at { consider(at, left, newGoesRight: false) }
      if slot >= at { consider(at, left, newGoesRight: true) }
    }
    return best
  }

  /// Adds a pointer to `block` after the path's slot at `level`, splitting nodes if need be.
  /// With `follow` the path's slot at `level` becomes the new pointer's; else it stays with the
  /// child it had.
  private func insertPointer(
    to block: TreeBlock, key: Key, level: Int, _ path: inout TreePath, follow: Bool,
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    if level > path.rootLevel { try growRoot(&path, in: handle) }

    let pointer = KeyPointer(key: key, address: block.address, generation: block.generation)
    let node = path.block(level)
    let old = path.slots[level]
    let new = old + 1
    guard node.count == context.geometry.nodeCapacity else {
      node.insertChild(new, pointer)
      if follow { path.slots[level] = new }
      return
    }

    let right = try makeBlock(level: node.level, in: handle)
    let division = new == node.count ? node.count : node.count / 2
    if division < node.count {
      node.moveChildren(from: division, number: node.count - division, to: right, at: 0)
    }
    // At the division itself the new pointer goes left, except when it is all of the right.
    let newGoesRight = new > division || right.count == 0
    if newGoesRight {
      right.insertChild(new - division, pointer)
    } else {
      node.insertChild(new, pointer)
    }
    let goesRight = follow ? newGoesRight : old >= division
    try insertPointer(
      to: right, key: right.firstKey, level: level + 1, &path, follow: goesRight, in: handle)
    let slot = follow ? new : old
    if goesRight {
      path.set(right, slot - division)
    } else {
      path.slots[level] = slot
    }
  }

  /// Puts a new root above the present one.
  private func growRoot(
    _ path: inout TreePath, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    guard root.level < Format.maximumLevel else {
      throw .corrupt("tree \(id) would need more than \(Format.maximumLevel + 1) levels")
    }
    let old = root
    let new = try makeBlock(level: old.level + 1, in: handle)
    new.insertChild(
      0, KeyPointer(key: old.firstKey, address: old.address, generation: old.generation))
    root = new
    path.rootLevel = Int(new.level)
    path.set(new, 0)
  }
}

/// Making room in a full leaf by moving items to a neighbour, so that leaves become full before they
/// are divided.
///
/// Files get their content after the inodes of many others stand in the leaf: each file extent is
/// inserted behind its inode, in ascending order. Divisions alone would leave leaves half full.
///
/// 1. Only a neighbour under the same parent is looked at, and only if it is in memory.
/// 2. At most one block more is copied than the path, and no leaf is divided then: that is what
///    is reserved for an item.
extension Tree {
  /// Makes `need` bytes free where the path leads, by moving first items to the left neighbour; the
  /// new item may then belong to that. False when that cannot be or is not worth it: nothing has
  /// changed. All blocks of the path are writable.
  func pushLeft(
    toFit need: Int, _ path: inout TreePath, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    let leaf = path.leaf
    let slot = path.slot
    // What is appended begins a new leaf.
    guard path.rootLevel > 0, slot > 0, slot < leaf.count, path.slots[1] > 0 else { return false }
    let parent = path.block(1)
    let leftSlot = path.slots[1] - 1
    guard let left = try neighbour(parent, leftSlot), left.count > 0,
      left.key(left.count - 1) < leaf.firstKey
    else { return false }

    let room = left.freeBytes
    var number = 0
    var moved = 0
    while number < slot {
      let bytes = leaf.itemSize(number) + Format.itemHeaderSize
      if moved + bytes > room { break }
      moved += bytes
      number += 1
    }

    // A left neighbour with much room gets the new item, too, and then as much as evens both.
    if number == slot, room >= leaf.leafCapacity / 2, moved + need <= room {
      var leftBytes = left.usedBytes + moved + need
      var rest = leaf.usedBytes - moved
      while number + 1 < leaf.count {
        let bytes = leaf.itemSize(number) + Format.itemHeaderSize
        guard leftBytes + bytes <= rest - bytes else { break }
        leftBytes += bytes
        rest -= bytes
        number += 1
      }
      let target = try makeWritableChild(of: parent, slot: leftSlot, left, in: handle)
      let count = target.count
      leaf.moveItems(from: 0, number: number, to: target, at: count)
      updateParentKeys(path, from: 0)
      path.slots[1] = leftSlot
      path.set(target, count + slot)
      return true
    }

    guard leaf.freeBytes + moved >= need, Self.isWorthMoving(moved, for: need, leaf) else {
      return false
    }

    let target = try makeWritableChild(of: parent, slot: leftSlot, left, in: handle)
    leaf.moveItems(from: 0, number: number, to: target, at: target.count)
    path.set(leaf, slot - number)
    updateParentKeys(path, from: 0)
    return true
  }

  /// The same by moving last items to the right neighbour, as many as it has room for.
  func pushRight(
    toFit need: Int, _ path: inout TreePath, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    let leaf = path.leaf
    let slot = path.slot
    guard path.rootLevel > 0, slot > 0, path.slots[1] + 1 < path.block(1).count else {
      return false
    }
    let parent = path.block(1)
    let rightSlot = path.slots[1] + 1
    guard let right = try neighbour(parent, rightSlot), right.count > 0,
      leaf.key(leaf.count - 1) < right.firstKey
    else { return false }

    let room = right.freeBytes
    var first = leaf.count
    var moved = 0
    while first > slot {
      let bytes = leaf.itemSize(first - 1) + Format.itemHeaderSize
      if moved + bytes > room { break }
      moved += bytes
      first -= 1
    }
    let staysHere =
      leaf.freeBytes + moved >= need && Self.isWorthMoving(moved, for: need, leaf)
    // Else the new item goes to the right with all that is behind it.
    let goesRight = first == slot && moved + need <= room && moved + need >= leaf.leafCapacity / 16
    guard staysHere || goesRight else { return false }

    let target = try makeWritableChild(of: parent, slot: rightSlot, right, in: handle)
    leaf.moveItems(from: first, number: leaf.count - first, to: target, at: 0)
    parent.setKey(rightSlot, target.firstKey)
    if !staysHere {
      // `place` carries the new item's key to the parent.
      path.slots[1] = rightSlot
      path.set(target, 0)
    }
    return true
  }

  /// Whether to move `moved` bytes to a neighbour, so that an item of `need` bytes fits. Each move may
  /// copy the neighbour. A few bytes would be gone with the next small item; a large one, which takes a
  /// good part of a leaf, is worth it alone.
  private static func isWorthMoving(_ moved: Int, for need: Int, _ leaf: TreeBlock) -> Bool {
    moved >= leaf.leafCapacity / 8 || need >= leaf.leafCapacity / 16
  }
}

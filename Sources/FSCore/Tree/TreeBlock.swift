import Glibc

/// One tree block in memory: a node (level ≥ 1) or a leaf.
///
/// 1. `address`, `generation`, `level` and `owner` never change; a block that changes them is a
///    new block.
/// 2. The content changes only while the block is writable: the running transaction has made it and
///    does not write it yet. No image can say that of a block: one that was read never is.
/// 3. A block whose content is not on the device is in `TreeBlockCache`'s dirty set, or in the
///    list of the commit that is writing it.
/// 4. In a block that was made here what lies between the headers and the data is zero, so that
///    it goes to the device as it stands and no stale byte gets out.
/// 5. The checksum at the block's start is the business of whoever writes it to the device;
///    nobody else reads or writes those bytes.
final class TreeBlock: @unchecked Sendable {
  let address: LogicalAddress
  let generation: Generation
  let owner: TreeID
  let level: UInt8
  let buffer: AlignedBuffer

  /// Set by the cache, before others see the block, and unset while nobody changes a tree.
  var isWritable = false

  /// The running transaction has made it for several trees, and does not write it yet: it is changed
  /// only with all of them locked (`SharedPath`), and is not writable. Set and unset like that.
  var isMovedTogether = false

  /// Guarded by the cache's shard lock.
  var isDirty = false
  /// A commit writes it, or is about to: it takes memory until that is over, whoever drops it.
  var isBeingWritten = false
  var wasUsed = true

  /// Takes over a buffer that holds a checked block.
  init(adopting buffer: AlignedBuffer) {
    self.buffer = buffer
    let header = BlockHeader(UnsafeRawBufferPointer(buffer.bytes).bytes)
    address = header.address
    generation = header.generation
    owner = header.owner
    level = header.level
  }

  @inline(__always) var base: UnsafeMutableRawPointer { buffer.bytes.baseAddress! }

  @inline(__always)
  private func number(at offset: Int) -> Int {
    Int(UInt32(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
  }

  @inline(__always)
  var count: Int {
    get { number(at: BlockHeader.Offset.itemCount) }
    set { base.storeBytes(of: UInt32(newValue).littleEndian, toByteOffset: 0x60, as: UInt32.self) }
  }

  var isLeaf: Bool { level == 0 }

  /// BlockHeader flags of the block as read.
  var flags: UInt64 { buffer.readable.u64(BlockHeader.Offset.flags) }

  @inline(__always)
  var stride: Int { level == 0 ? Format.itemHeaderSize : Format.keyPointerSize }

  @inline(__always)
  func key(_ slot: Int) -> Key {
    Key(keyAt: base + (Format.headerSize + slot * stride))
  }

  func setKey(_ slot: Int, _ key: Key) {
    key.encode(into: buffer.bytes, at: Format.headerSize + slot * stride)
  }

  var firstKey: Key { key(0) }

  /// The first slot whose key is at least `key`, and whether it is equal.
  func lowerBound(_ key: Key) -> (slot: Int, isExact: Bool) {
    let stride = self.stride
    let keys = base + Format.headerSize
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      let other = Key(keyAt: keys + middle * stride)
      if other < key {
        low = middle + 1
      } else if other == key {
        return (middle, true)
      } else {
        high = middle
      }
    }
    return (low, false)
  }

  /// The child of a node in which `key` belongs: the last whose first key is not above it, or
  /// the first child.
  func childSlot(for key: Key) -> Int {
    let (slot, isExact) = lowerBound(key)
    return isExact ? slot : max(slot - 1, 0)
  }
}

extension Key {
  @inline(__always)
  init(keyAt pointer: UnsafeRawPointer) {
    self.init(
      ObjectID(rawValue: UInt64(littleEndian: pointer.loadUnaligned(as: UInt64.self))),
      ItemType(pointer.load(fromByteOffset: 8, as: UInt8.self)),
      UInt64(littleEndian: pointer.loadUnaligned(fromByteOffset: 9, as: UInt64.self)))
  }
}

// Nodes.

extension TreeBlock {
  @inline(__always)
  func child(_ slot: Int) -> KeyPointer {
    let at = Format.headerSize + slot * Format.keyPointerSize
    let bytes = buffer.readable
    return KeyPointer(
      key: Key(keyAt: base + at), address: LogicalAddress(rawValue: bytes.u64(at + 17)),
      generation: Generation(rawValue: bytes.u64(at + 25)))
  }

  func setChild(_ slot: Int, _ pointer: KeyPointer) {
    let at = Format.headerSize + slot * Format.keyPointerSize
    let bytes = buffer.bytes
    pointer.key.encode(into: bytes, at: at)
    bytes.store(pointer.address.rawValue, at: at + 17)
    bytes.store(pointer.generation.rawValue, at: at + 25)
  }

  func insertChild(_ slot: Int, _ pointer: KeyPointer) {
    let count = self.count
    let at = base + (Format.headerSize + slot * Format.keyPointerSize)
    memmove(at + Format.keyPointerSize, at, (count - slot) * Format.keyPointerSize)
    setChild(slot, pointer)
    self.count = count + 1
  }

  func removeChild(_ slot: Int) {
    let count = self.count
    let at = base + (Format.headerSize + slot * Format.keyPointerSize)
    memmove(at, at + Format.keyPointerSize, (count - slot - 1) * Format.keyPointerSize)
    clear(Format.headerSize + (count - 1) * Format.keyPointerSize, Format.keyPointerSize)
    self.count = count - 1
  }

  /// Zeroes what is no longer used.
  private func clear(_ offset: Int, _ length: Int) { memset(base + offset, 0, length) }

  /// Moves `number` children from `slot` on to `target`, at `targetSlot`.
  func moveChildren(from slot: Int, number: Int, to target: TreeBlock, at targetSlot: Int) {
    let size = Format.keyPointerSize
    let targetBase = target.base + (Format.headerSize + targetSlot * size)
    memmove(targetBase + number * size, targetBase, (target.count - targetSlot) * size)
    memcpy(targetBase, base + (Format.headerSize + slot * size), number * size)
    target.count += number
    let at = base + (Format.headerSize + slot * size)
    memmove(at, at + number * size, (count - slot - number) * size)
    count -= number
    clear(Format.headerSize + count * size, number * size)
  }
}

// Leaves.

extension TreeBlock {
  @inline(__always)
  private func headerAt(_ slot: Int) -> Int { Format.headerSize + slot * Format.itemHeaderSize }

  @inline(__always)
  func itemOffset(_ slot: Int) -> Int {
    number(at: headerAt(slot) + 17)
  }

  @inline(__always)
  func itemSize(_ slot: Int) -> Int {
    number(at: headerAt(slot) + 21)
  }

  private func setItem(_ slot: Int, offset: Int, size: Int) {
    base.storeBytes(
      of: UInt32(offset).littleEndian, toByteOffset: headerAt(slot) + 17, as: UInt32.self)
    base.storeBytes(
      of: UInt32(size).littleEndian, toByteOffset: headerAt(slot) + 21, as: UInt32.self)
  }

  /// The data of an item, to read.
  @inline(__always)
  func item(_ slot: Int) -> UnsafeRawBufferPointer {
    buffer.readable.part(Format.headerSize + itemOffset(slot), itemSize(slot))
  }

  /// The data of an item, to change.
  func mutableItem(_ slot: Int) -> UnsafeMutableRawBufferPointer {
    buffer.bytes.part(Format.headerSize + itemOffset(slot), itemSize(slot))
  }

  var leafCapacity: Int { buffer.count - Format.headerSize }

  /// Where the data begins, relative to the end of the header.
  private var dataStart: Int { count == 0 ? leafCapacity : itemOffset(count - 1) }

  /// Bytes that new items, their headers included, may take.
  var freeBytes: Int { dataStart - count * Format.itemHeaderSize }

  var usedBytes: Int { leafCapacity - freeBytes }

  /// Makes room for a new item; its data is not initialised. `freeBytes` must suffice.
  func insertItem(_ slot: Int, _ key: Key, size: Int) {
    let count = self.count
    precondition(freeBytes >= size + Format.itemHeaderSize && slot <= count)

    // The data of a slot stands below that of the slot before it.
    let end = slot == 0 ? leafCapacity : itemOffset(slot - 1)
    shiftData(from: slot, by: -size)
    let at = base + headerAt(slot)
    memmove(at + Format.itemHeaderSize, at, (count - slot) * Format.itemHeaderSize)
    self.count = count + 1
    key.encode(into: buffer.bytes, at: headerAt(slot))
    setItem(slot, offset: end - size, size: size)
  }

  func removeItem(_ slot: Int) { removeItems(from: slot, number: 1) }

  /// Changes the size of an item; its data is not initialised after that. A larger size must
  /// fit.
  func resizeItem(_ slot: Int, to size: Int) {
    let growth = size - itemSize(slot)
    precondition(growth <= freeBytes)
    let offset = itemOffset(slot)
    let start = dataStart
    shiftData(from: slot + 1, by: -growth)
    setItem(slot, offset: offset - growth, size: size)
    if growth < 0 { clear(Format.headerSize + start, -growth) }
  }

  /// Moves the data of the slots from `slot` to the last, and their offsets.
  private func shiftData(from slot: Int, by distance: Int) {
    let count = self.count
    guard slot < count, distance != 0 else { return }
    let low = itemOffset(count - 1)
    let high = itemOffset(slot) + itemSize(slot)
    let data = base + Format.headerSize
    memmove(data + (low + distance), data + low, high - low)
    var field = base + (headerAt(slot) + 17)
    for _ in slot..<count {
      let offset = UInt32(littleEndian: field.loadUnaligned(as: UInt32.self))
      field.storeBytes(
        of: UInt32(Int(offset) + distance).littleEndian, as: UInt32.self)
      field += Format.itemHeaderSize
    }
  }

  /// What some items take, their headers included.
  func bytes(ofItems slots: Range<Int>) -> Int {
    slots.reduce(slots.count * Format.itemHeaderSize) { $0 + itemSize($1) }
  }

  /// Moves `number` items from `slot` on to `target`, at `targetSlot`; they must fit.
  func moveItems(from slot: Int, number: Int, to target: TreeBlock, at targetSlot: Int) {
    guard number > 0 else { return }
    let header = Format.itemHeaderSize
    let bytes = bytes(ofItems: slot..<(slot + number)) - number * header
    precondition(target.freeBytes >= bytes + number * header && targetSlot <= target.count)

    // The gap is made once: what stands in the target moves once.
    var offset = targetSlot == 0 ? target.leafCapacity : target.itemOffset(targetSlot - 1)
    target.shiftData(from: targetSlot, by: -bytes)
    let at = target.base + target.headerAt(targetSlot)
    memmove(at + number * header, at, (target.count - targetSlot) * header)
    target.count += number
    for index in 0..<number {
      let item = item(slot + index)
      offset -= item.count
      key(slot + index).encode(into: target.buffer.bytes, at: target.headerAt(targetSlot + index))
      target.setItem(targetSlot + index, offset: offset, size: item.count)
      target.mutableItem(targetSlot + index).copyMemory(from: item)
    }
    removeItems(from: slot, number: number)
  }

  private func removeItems(from slot: Int, number: Int) {
    guard number > 0 else { return }
    let count = self.count
    let bytes = (slot..<(slot + number)).reduce(0) { $0 + itemSize($1) }
    let start = dataStart
    shiftData(from: slot + number, by: bytes)
    let at = base + headerAt(slot)
    memmove(
      at, at + number * Format.itemHeaderSize, (count - slot - number) * Format.itemHeaderSize)
    self.count = count - number
    clear(headerAt(count - number), number * Format.itemHeaderSize)
    clear(Format.headerSize + start, bytes)
  }

  /// Copies the block but for its header, zeroing what is unused: in a block that somebody else
  /// has written anything may stand there. The block itself may be read meanwhile.
  func copyContent(to target: UnsafeMutableRawBufferPointer) {
    let bytes = buffer.readable
    let begin = Format.headerSize
    let headersEnd = begin + count * stride
    let dataBegin = isLeaf ? begin + dataStart : bytes.count
    target.store(bytes.part(begin, headersEnd - begin), at: begin)
    target.part(headersEnd, dataBegin - headersEnd).zero()
    target.store(bytes.part(dataBegin, bytes.count - dataBegin), at: dataBegin)
  }
}

/// Changes a file's extents, with the references, `nbytes` and holes that go with them.
///
/// 1. Everything here is called with the inode's `content` held exclusively and a handle open, and
///    leaves it to the caller to write the inode's item before the handle is closed.
/// 2. What may fail because of what stands on the device is read before the first change.
/// 3. An extent that keeps a reference never loses its last one for a moment: it would be freed.
/// 4. `nbytes` counts file length, not disk length.
struct FileExtentEditor: Sendable {
  /// Extents that are removed in one transaction, at the most.
  static let mostRemoved = 128

  let geometry: Geometry
  let references: DelayedReferences

  private var sectorSize: UInt64 { geometry.sectorSize }

  /// Removes `range`, whole sectors, from the file: items are deleted, cut and divided. `found`
  /// are the extents that overlap it. Leaves a gap, also where the file system wants holes to have
  /// items (`fillHoles`).
  func drop(
    _ found: [FileExtent], _ range: Range<UInt64>, of inode: Inode,
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    inode.content.assertHeldExclusively()
    for extent in found {
      let end = extent.end(sectorSize)
      guard extent.start < range.upperBound, end > range.lowerBound else { continue }
      if extent.isInline {
        guard range.lowerBound <= extent.start, range.upperBound >= end else {
          throw .corrupt("part of an inline extent of \(inode.id) is dropped")
        }
        try remove(extent, inode, in: handle)
        continue
      }

      let left =
        extent.start < range.lowerBound ? extent.part(extent.start..<range.lowerBound) : nil
      let right = end > range.upperBound ? extent.part(range.upperBound..<end) : nil
      switch (left, right) {
      case (nil, nil):
        try remove(extent, inode, in: handle)
        continue
      case (let left?, nil):
        try overwrite(left, inode, in: handle)
      case (nil, let right?):
        try inode.tree.rekey(
          inode.extentKey(extent.start), to: inode.extentKey(right.start), in: handle
        ) { right.item.encode(into: $0) }
      case (let left?, let right?):
        try overwrite(left, inode, in: handle)
        try insert(right, inode, in: handle)
        changeReferences(of: extent, inode, by: 1, in: handle)
      }
      let kept = (left?.allocatedBytes ?? 0) + (right?.allocatedBytes ?? 0)
      changeBytes(of: inode, from: extent.allocatedBytes, to: kept)
    }
  }

  /// Replaces items of one extent by others of the same extent, that cover the same range.
  /// Both are in order.
  func replaceItems(
    _ old: [FileExtent], with new: [FileExtent], of inode: Inode,
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    inode.content.assertHeldExclusively()
    // Never fewer references than before or after: the last would free the extent.
    let difference = new.count - old.count
    if difference > 0 { changeReferences(of: old[0], inode, by: Int32(difference), in: handle) }
    for extent in old where !new.contains(where: { $0.start == extent.start }) {
      try delete(extent, inode, in: handle)
    }
    for extent in new {
      if old.contains(where: { $0.start == extent.start }) {
        try overwrite(extent, inode, in: handle)
      } else {
        try insert(extent, inode, in: handle)
      }
    }
    if difference < 0 { changeReferences(of: old[0], inode, by: Int32(difference), in: handle) }
  }

  /// Notes a reference of `inode` to an extent that others refer to as well, for `insertShared`.
  func addReference(
    to extent: FileExtent, _ inode: Inode, in handle: borrowing TransactionHandle
  ) {
    changeReferences(of: extent, inode, by: 1, in: handle)
  }

  /// Inserts an item for which `addReference` was called, where the file has none.
  func insertShared(
    _ extent: FileExtent, _ inode: Inode, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    inode.content.assertHeldExclusively()
    try insert(extent, inode, in: handle)
    changeBytes(of: inode, from: 0, to: extent.allocatedBytes)
  }

  /// Stores an inline extent of another file, as it is, as the file's only extent.
  func insertInline(
    _ extent: FileExtent, _ inode: Inode, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    inode.content.assertHeldExclusively()
    let header = FileExtentItem.inlineHeaderSize
    let size = header + extent.inlineBytes.count
    try inode.tree.insert(inode.extentKey(0), size: size, in: handle) { bytes in
      extent.item.encode(into: bytes)
      extent.inlineBytes.withUnsafeBytes { bytes.store($0, at: header) }
    }
    changeBytes(of: inode, from: 0, to: extent.item.length)
  }

  /// Inserts an item for an extent that was allocated just now, where the file has none.
  func insertNewExtent(
    _ extent: FileExtent, _ inode: Inode, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    inode.content.assertHeldExclusively()
    references.add(
      extent.item.diskAddress, .data(length: extent.item.diskLength), extent.identity(of: inode),
      count: 1, newExtent: true, in: handle)
    try insert(extent, inode, in: handle)
    changeBytes(of: inode, from: 0, to: extent.item.length)
  }

  /// Stores `content` as the file's only extent.
  func insertInline(
    _ content: UnsafeRawBufferPointer, _ inode: Inode, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    inode.content.assertHeldExclusively()
    let header = FileExtentItem.inlineHeaderSize
    let item = FileExtentItem(
      generation: handle.generation, kind: .inline, diskAddress: 0, diskLength: 0,
      ramBytes: UInt64(content.count), offset: 0, length: UInt64(content.count))
    try inode.tree.insert(inode.extentKey(0), size: header + content.count, in: handle) {
      item.encode(into: $0)
      $0.store(content, at: header)
    }
    changeBytes(of: inode, from: 0, to: item.length)
  }

  // Holes and size.

  /// Gives each gap in `range` an item, where the file system wants that.
  func fillHoles(
    of inode: Inode, in range: Range<UInt64>, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    inode.content.assertHeldExclusively()
    guard !geometry.hasNoHoles, !range.isEmpty else { return }
    var position = range.lowerBound
    for extent in try inode.extents(in: range) {
      if extent.start > position {
        try insertHole(position..<extent.start, inode, in: handle)
      }
      position = max(position, extent.end(sectorSize))
    }
    if position < range.upperBound {
      try insertHole(position..<range.upperBound, inode, in: handle)
    }
  }

  private func insertHole(
    _ range: Range<UInt64>, _ inode: Inode, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let item = FileExtentItem.hole(
      length: range.upperBound - range.lowerBound, generation: handle.generation)
    try insert(FileExtent(start: range.lowerBound, item: item), inode, in: handle)
  }

  /// How many hole items it may take to cover what lies between two sizes.
  func holeCount(
    of inode: Inode, from old: UInt64, to new: UInt64
  ) throws(FilesystemError) -> Int {
    guard !geometry.hasNoHoles else { return 0 }
    let first = min(old, inode.item.withLock { _ in inode.diskSize })
    return first < new ? try inode.extents(in: first..<new).count + 1 : 0
  }

  /// Lets the size on disk reach `end`, but not beyond the file's size, nor shrink.
  func raiseDiskSize(
    of inode: Inode, to end: UInt64, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    inode.content.assertHeldExclusively()
    let (old, new) = inode.item.withLock { (inode.diskSize, min(end, $0.size)) }
    guard new > old else { return }
    let first = min(old, Format.largestFileSize).roundedUp(to: sectorSize)
    let last = min(new, Format.largestFileSize).roundedUp(to: sectorSize)
    if first < last { try fillHoles(of: inode, in: first..<last, in: handle) }
    inode.item.withLock { _ in inode.diskSize = new }
  }

  // Single items.

  private func remove(
    _ extent: FileExtent, _ inode: Inode, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    try delete(extent, inode, in: handle)
    changeReferences(of: extent, inode, by: -1, in: handle)
    changeBytes(of: inode, from: extent.allocatedBytes, to: 0)
  }

  private func delete(
    _ extent: FileExtent, _ inode: Inode, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    guard try inode.tree.delete(inode.extentKey(extent.start), in: handle) else {
      throw .corrupt("file extent \(inode.extentKey(extent.start)) vanished")
    }
  }

  /// Writes an item over the one with the same key.
  private func overwrite(
    _ extent: FileExtent, _ inode: Inode, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let key = inode.extentKey(extent.start)
    let done: Void? = try inode.tree.modify(key, in: handle) { (bytes) throws(FilesystemError) in
      guard bytes.count == FileExtentItem.size else { throw .corrupt("file extent \(key) changed") }
      extent.item.encode(into: bytes)
    }
    guard done != nil else { throw .corrupt("file extent \(key) vanished") }
  }

  private func insert(
    _ extent: FileExtent, _ inode: Inode, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let key = inode.extentKey(extent.start)
    try inode.tree.insert(key, size: FileExtentItem.size, in: handle) {
      extent.item.encode(into: $0)
    }
  }

  private func changeReferences(
    of extent: FileExtent, _ inode: Inode, by count: Int32, in handle: borrowing TransactionHandle
  ) {
    guard extent.item.hasExtent else { return }
    references.add(
      extent.item.diskAddress, .data(length: extent.item.diskLength), extent.identity(of: inode),
      count: count, newExtent: false, in: handle)
  }

  private func changeBytes(of inode: Inode, from old: UInt64, to new: UInt64) {
    // An image's nbytes may be wrong; it must not become enormous.
    inode.item.withLock { $0.nbytes = ($0.nbytes &+ new) - min(old, $0.nbytes &+ new) }
  }
}

/// Allocates space before there is anything to write to it, and zeroes by the same means.
struct Preallocator: Sendable {
  let geometry: Geometry
  let transactions: TransactionManager
  let space: Space
  let decompressed: DecompressedExtents
  let buffer: WriteBuffer
  let editor: FileExtentEditor
  let sizes: FileSizeEditor
  let writeBack: WriteBack

  private var sectorSize: UInt64 { geometry.sectorSize }

  /// Gives every part of [offset, +length) that has no space some, which reads as zero. The file
  /// grows to the end of the range unless `keepSize`. The inode's `lock` is held exclusively;
  /// waits for write-back.
  ///
  /// Throws `.noSpace` before anything is allocated when there is not enough for all.
  func preallocate(
    _ inode: Inode, at offset: UInt64, length: UInt64, keepSize: Bool
  ) throws(FilesystemError) {
    inode.lock.assertHeldExclusively()
    let range = try Format.fileRange(offset, length)
    try prepare(inode, for: range, keepSize: keepSize)
    let sectors = geometry.sectors(around: range)
    var reserved = try reserve(inode, sectors, replacingData: false)
    defer { space.reservations.releaseData(reserved) }
    try fill(inode, sectors, from: &reserved, replacingData: false)
    try finishAllocation(of: inode, range, keepSize: keepSize)
  }

  /// Makes [offset, +length) read as zero, with space behind all of it.
  func zeroRange(
    _ inode: Inode, at offset: UInt64, length: UInt64, keepSize: Bool
  ) throws(FilesystemError) {
    inode.lock.assertHeldExclusively()
    let range = try Format.fileRange(offset, length)
    try prepare(inode, for: range, keepSize: keepSize)

    let inner = try inode.content.exclusive { () throws(FilesystemError) in
      try wholeSectors(of: range, inode)
    }
    // A call that is refused has changed nothing.
    var reserved = try reserve(inode, inner, replacingData: true)
    defer { space.reservations.releaseData(reserved) }
    try inode.content.exclusive { () throws(FilesystemError) in
      _ = try buffer.zeroEdges(of: range, inode)
    }
    try fill(inode, inner, from: &reserved, replacingData: true)
    try finishAllocation(of: inode, range, keepSize: keepSize)
  }

  /// What of `range` becomes preallocated when it is zeroed. Edges with data are left out, and zeroed by
  /// writing; edges without are taken whole. The inode's `content` is held.
  private func wholeSectors(
    of range: Range<UInt64>, _ inode: Inode
  ) throws(FilesystemError) -> Range<UInt64> {
    var lower = range.lowerBound.roundedUp(to: sectorSize)
    var upper = range.upperBound.roundedDown(to: sectorSize)
    for edge in buffer.edges(of: range) where !(try buffer.hasData(inode, at: edge.lowerBound)) {
      if edge.lowerBound == range.lowerBound {
        lower = edge.lowerBound.roundedDown(to: sectorSize)
      }
      if edge.upperBound == range.upperBound { upper = edge.upperBound.roundedUp(to: sectorSize) }
    }
    return lower..<max(lower, upper)
  }

  /// Brings the file into a state in which its items say all there is to know, and in which
  /// extents can be added in `range`.
  private func prepare(
    _ inode: Inode, for range: Range<UInt64>, keepSize: Bool
  ) throws(FilesystemError) {
    writeBack.flush(inode)
    try inode.content.exclusive { () throws(FilesystemError) in
      let size = inode.fileSize
      if range.upperBound > sectorSize {
        inode.file.forbidsInline = true
        try buffer.keepInlineAlone(inode, size: size)
      }
      if !keepSize && range.upperBound > size {
        try buffer.settleTail(of: inode, size: size, upTo: .max)
        try buffer.keepInlineAlone(inode, size: size)
      }
    }
    // The new extents must not stand beside an inline one for a moment.
    writeBack.flush(inode)
  }

  private func finishAllocation(
    of inode: Inode, _ range: Range<UInt64>, keepSize: Bool
  ) throws(FilesystemError) {
    let isLonger = !keepSize && range.upperBound > inode.fileSize
    try sizes.finishChange(of: inode, size: isLonger ? range.upperBound : nil)
  }

  // Allocation.

  /// Reserves what `fill` takes, and returns how much that is. Throws `.noSpace` when there is not
  /// enough.
  private func reserve(
    _ inode: Inode, _ range: Range<UInt64>, replacingData: Bool
  ) throws(FilesystemError) -> UInt64 {
    var needed: UInt64 = 0
    try forEachPart(of: range, inode, replacingData) { (part) throws(FilesystemError) in
      needed += part.upperBound - part.lowerBound
    }
    guard needed > 0 else { return 0 }
    // Where space is in many pieces the items are more than this, and are refused one by one.
    let items = min(space.reservations.itemCost(bytes: needed, pieces: 1), 64 * geometry.nodeSize)
    try space.reservations.reserveData(needed, items: items)
    space.reservations.releaseItems(items)
    return needed
  }

  /// Preallocates what has no space in `range`, whole sectors; with `replacingData` also what
  /// has, but is not preallocated. Nothing is buffered there, so the extents stay as they are. Takes from
  /// `reserved` what it uses.
  private func fill(
    _ inode: Inode, _ range: Range<UInt64>, from reserved: inout UInt64, replacingData: Bool
  ) throws(FilesystemError) {
    guard reserved > 0 else { return }
    try forEachPart(of: range, inode, replacingData) { (part) throws(FilesystemError) in
      var start = part.lowerBound
      while start < part.upperBound {
        let wanted = min(part.upperBound - start, Format.longestDataExtent)
        let (address, length) = try space.allocator.allocateData(
          length: wanted, minimum: sectorSize, hint: inode.file.nextAddress,
          usingReserved: true)
        reserved -= min(reserved, length)
        decompressed.drop(address, length: length)
        try insertPreallocated(address, start..<(start + length), inode)
        start += length
      }
    }
  }

  /// Calls `body` with each part of `range` that has no space, and with `includingData` each
  /// that is not preallocated; in order. `body` may fill the part. Parts are cut where many
  /// extents are in one.
  private func forEachPart(
    of range: Range<UInt64>, _ inode: Inode, _ includingData: Bool,
    _ body: (Range<UInt64>) throws(FilesystemError) -> Void
  ) throws(FilesystemError) {
    var position = range.lowerBound
    while position < range.upperBound {
      let rest = position..<range.upperBound
      let found = try inode.content.shared { () throws(FilesystemError) in
        try inode.extents(in: rest, atMost: FileExtentEditor.mostRemoved)
      }
      let isLast = found.count < FileExtentEditor.mostRemoved
      var start = position
      for extent in found {
        let isKept = includingData ? extent.isPreallocated : !extent.item.isHole
        guard isKept else { continue }
        if start < extent.start { try body(start..<extent.start) }
        start = extent.end(sectorSize)
      }
      let end =
        isLast ? range.upperBound : min(found[found.count - 1].end(sectorSize), range.upperBound)
      if start < end { try body(start..<end) }
      position = max(end, start)
    }
  }

  private func insertPreallocated(
    _ address: LogicalAddress, _ range: Range<UInt64>, _ inode: Inode
  ) throws(FilesystemError) {
    let length = range.upperBound - range.lowerBound
    do throws(FilesystemError) {
      try inode.content.exclusive { () throws(FilesystemError) in
        let found = try inode.extentsToChange(in: range)
        try transactions.perform(reserving: 8 + found.count / 4) {
          (handle) throws(FilesystemError) in
          handle.noteChange()
          let item = FileExtentItem(
            generation: handle.generation, kind: .preallocated, diskAddress: address,
            diskLength: length, ramBytes: length, offset: 0, length: length)
          try editor.drop(found, range, of: inode, in: handle)
          try editor.insertNewExtent(
            FileExtent(start: range.lowerBound, item: item), inode, in: handle)
          inode.item.withLock { _ = $0.flags.insert(.prealloc) }
          try inode.writeItem(in: handle)
        }
        inode.file.nextAddress = address + length
      }
    } catch {
      if transactions.failure == nil { space.allocator.abandon(address, length: length) }
      throw error
    }
  }
}

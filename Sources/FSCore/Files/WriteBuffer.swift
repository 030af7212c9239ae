/// What was written and is not on the device: the buffered bytes of all files.
///
/// 1. Written bytes are buffered by sectors (`FileBuffers`, one for each inode). Space is reserved
///    for them when they are buffered; that is where `.noSpace` comes from, not from write-back.
/// 2. No whole file is in memory: `budget` bounds the sum.
/// 3. Everything here is called with the inode's `content` held exclusively, but for what is said
///    to be for any thread.
final class WriteBuffer: Sendable {
  let geometry: Geometry
  let space: Space
  let reader: FileReader
  let overwrites: OverwriteRule
  let budget: DirtyBudget
  let dirtyFiles = DirtyFiles()

  var sectorSize: UInt64 { geometry.sectorSize }
  private var sectorBytes: Int { geometry.sectorBytes }

  init(
    geometry: Geometry, space: Space, reader: FileReader, overwrites: OverwriteRule,
    memory: MemoryBudget
  ) {
    self.geometry = geometry
    self.space = space
    self.reader = reader
    self.overwrites = overwrites
    budget = DirtyBudget(
      memory: memory, blocks: space.trees.context.cache, demand: space.reservations.demand)
  }

  /// Buffers `bytes`, or zeros when there are none. `size` is the file's before the change: what
  /// is beyond counts as zero. Nothing is changed when an error is thrown.
  ///
  /// - Parameter isPatient: see `Reservations.reserveData`.
  func put(
    _ inode: Inode, _ range: Range<UInt64>, _ bytes: UnsafeRawBufferPointer?, size: UInt64,
    isPatient: Bool = true
  ) throws(FilesystemError) {
    inode.content.assertHeldExclusively()
    let outer = geometry.sectors(around: range)
    // Of the sectors at the edges the rest is kept. It is read before anything is changed.
    let head = try edge(inode, outer.lowerBound, within: range, size: size)
    let lastSector = outer.upperBound - sectorSize
    let tail =
      lastSector == outer.lowerBound
      ? nil : try edge(inode, lastSector, within: range, size: size)

    let newBytes = unbufferedBytes(inode.file, outer)
    let isReserved =
      newBytes > 0 ? try reserve(newBytes, inode, outer, isPatient: isPatient) : true
    // Once it is in the list of dirty files a snapshot sees it.
    defer { if !isReserved { inode.subvolume.inPlace.leaveUnreserved() } }

    var position = outer.lowerBound
    while position < outer.upperBound {
      let cellStart = position.roundedDown(to: BufferCell.size)
      let stop = min(cellStart + BufferCell.size, outer.upperBound)
      let first = Int((position - cellStart) / sectorSize)
      let sectors = first..<(first + Int((stop - position) / sectorSize))
      let cell = dirtyCell(inode.file, cellStart / BufferCell.size, room: sectors)
      cell.add(sectors, isReserved: isReserved)
      let memory = cell.bytes(sectors)

      if let head, position == outer.lowerBound { memory.store(head.readable, at: 0) }
      if let tail, stop == outer.upperBound {
        memory.store(tail.readable, at: memory.count - sectorBytes)
      }
      let start = max(position, range.lowerBound)
      let end = min(stop, range.upperBound)
      let target = memory.part(Int(start - position), Int(end - start))
      if let bytes {
        target.copyMemory(from: bytes.part(Int(start - range.lowerBound), target.count))
      } else {
        target.zero()
      }
      position = stop
    }

    inode.file.noteBuffered(Int(newBytes))
    if !inode.file.isListed {
      inode.file.isListed = true
      dirtyFiles.insert(inode)
    }
  }

  private func dirtyCell(
    _ buffers: FileBuffers, _ index: UInt64, room: Range<Int>
  ) -> BufferCell {
    if let cell = buffers.dirty[index] { return cell }
    let cell = BufferCell(index: index, room: room, sectorSize: sectorBytes, budget: budget)
    buffers.dirty[index] = cell
    return cell
  }

  /// What the sector at `start` holds, when it is not yet dirty and `range` leaves part of it.
  private func edge(
    _ inode: Inode, _ start: UInt64, within range: Range<UInt64>, size: UInt64
  ) throws(FilesystemError) -> AlignedBuffer? {
    let end = start + sectorSize
    guard range.lowerBound > start || range.upperBound < end, !isDirty(inode.file, start) else {
      return nil
    }
    // All that is left of it may be beyond the end of the file.
    if start >= size || (range.lowerBound <= start && range.upperBound >= size) {
      return AlignedBuffer(zeroed: sectorBytes)
    }
    let sector = AlignedBuffer(count: sectorBytes)
    try reader.readSectors(inode, at: start, into: sector.bytes)
    if size < end {
      let kept = Int(size - start)
      sector.bytes.part(kept, sectorBytes - kept).zero()
    }
    return sector
  }

  func isDirty(_ buffers: FileBuffers, _ sector: UInt64) -> Bool {
    guard let cell = buffers.dirty[sector / BufferCell.size] else { return false }
    return cell.contains(Int((sector - cell.start) / sectorSize))
  }

  private func unbufferedBytes(_ buffers: FileBuffers, _ outer: Range<UInt64>) -> UInt64 {
    var dirty: UInt64 = 0
    for index in (outer.lowerBound / BufferCell.size)...((outer.upperBound - 1) / BufferCell.size) {
      guard let cell = buffers.dirty[index] else { continue }
      let start = max(outer.lowerBound, cell.start) - cell.start
      let end = min(outer.upperBound, cell.start + BufferCell.size) - cell.start
      let mask = BufferCell.mask(Int(start / sectorSize)..<Int(end / sectorSize))
      dirty += UInt64((cell.sectors & mask).nonzeroBitCount) * sectorSize
    }
    return outer.upperBound - outer.lowerBound - dirty
  }

  /// Reserves space for new sectors of `outer` and for their items. False says that only the items
  /// need any: all of it is preallocated for this file alone. That is looked for only when there is
  /// no space; and what is on its way to such an extent makes it one that is not overwritten. The
  /// caller then leaves the subvolume's gate.
  private func reserve(
    _ bytes: UInt64, _ inode: Inode, _ outer: Range<UInt64>, isPatient: Bool
  ) throws(FilesystemError) -> Bool {
    let items = space.reservations.itemCost(bytes: bytes, pieces: newCells(inode.file, outer))
    do throws(FilesystemError) {
      try space.reservations.reserveData(bytes, items: items, isPatient: isPatient)
      return true
    } catch .noSpace {
      let gate = inode.subvolume.inPlace
      guard !inode.file.isWriting(in: outer), gate.enterUnreserved() else { throw .noSpace }
      do throws(FilesystemError) {
        guard try overwrites.allows(inode, outer) else { throw .noSpace }
        try space.reservations.reserveItems(items)
        return false
      } catch {
        gate.leaveUnreserved()
        throw error
      }
    }
  }

  /// How many cells buffering `outer` would add.
  private func newCells(_ buffers: FileBuffers, _ outer: Range<UInt64>) -> UInt64 {
    let cells = (outer.lowerBound / BufferCell.size)...((outer.upperBound - 1) / BufferCell.size)
    return cells.reduce(0) { $0 + (buffers.dirty[$1] == nil ? 1 : 0) }
  }

  /// Gives back what is kept for the items of sectors that are gone: of whole cells, or of parts.
  private func releaseItems(bytes: Int, cells: Int) {
    space.reservations.releaseItems(
      space.reservations.itemCost(bytes: UInt64(bytes), pieces: UInt64(cells)))
  }

  // The end of the file.

  /// Makes the bytes from `size` to the end of its sector zero, before they come to lie inside
  /// the file, unless all of them up to `offset` stand in a sector that is about to be buffered.
  /// They are zero as we write them; others may have left something there.
  func settleTail(
    of inode: Inode, size: UInt64, upTo offset: UInt64
  ) throws(FilesystemError) {
    inode.content.assertHeldExclusively()
    let sector = size.roundedDown(to: sectorSize)
    guard sector < size, offset >= sector + sectorSize, !isDirty(inode.file, sector),
      inode.file.bytes(at: sector, end: size) == nil,
      let extent = try inode.extents(in: sector..<(sector + sectorSize), atMost: 1).first,
      extent.hasData, !extent.isInline
    else { return }

    let buffer = AlignedBuffer(count: sectorBytes)
    try reader.readSectors(inode, at: sector, into: buffer.bytes)
    let beyond = Int(size - sector)
    guard buffer.bytes[beyond...].contains(where: { $0 != 0 }) else { return }
    try put(inode, size..<(sector + sectorSize), nil, size: size)
  }

  /// Buffers the first sector, as it is, when it stands in an inline extent and the file is
  /// about to grow: an inline extent that is shorter than a sector must be the only one, and as long
  /// as the file. One that fills its sector may stay, as Linux leaves it.
  func keepInlineAlone(_ inode: Inode, size: UInt64) throws(FilesystemError) {
    inode.content.assertHeldExclusively()
    guard size > 0, size < sectorSize, !isDirty(inode.file, 0),
      let extent = try inode.extents(in: 0..<sectorSize, atMost: 1).first, extent.isInline
    else { return }
    try put(inode, size..<(size + 1), nil, size: size)
  }

  /// Drops what is buffered at and beyond `offset`, a multiple of the sector size, and is not on
  /// its way to the device.
  func discard(_ inode: Inode, from offset: UInt64) {
    inode.content.assertHeldExclusively()
    let buffers = inode.file
    var reserved: UInt64 = 0
    var dropped = 0
    var emptied = 0
    for (index, cell) in buffers.dirty where cell.start + BufferCell.size > offset {
      let count = Int(BufferCell.size / sectorSize)
      let first = offset > cell.start ? Int((offset - cell.start) / sectorSize) : 0
      let before = cell.byteCount
      reserved += cell.remove(first..<count)
      dropped += before - cell.byteCount
      if cell.isEmpty {
        buffers.dirty[index] = nil
        emptied += 1
      }
    }
    space.reservations.releaseData(reserved)
    releaseItems(bytes: dropped, cells: emptied)
    buffers.noteBuffered(-dropped)
    unlistIfEmpty(inode)
  }

  func unlistIfEmpty(_ inode: Inode) {
    inode.content.assertHeldExclusively()
    guard inode.file.isEmpty, inode.file.isListed else { return }
    inode.file.isListed = false
    dirtyFiles.remove(inode)
  }

  // Write-back.

  /// Takes the next cells off `indexes`, which is descending, for a batch that is written back; nil
  /// when none is left.
  func takeBatch(of inode: Inode, _ indexes: inout [UInt64]) -> WriteBatch? {
    inode.content.assertHeldExclusively()
    let buffers = inode.file
    var cells: [BufferCell] = []
    var bytes = 0
    while bytes < WriteBatch.longest, let index = indexes.popLast() {
      guard let cell = buffers.dirty.removeValue(forKey: index) else { continue }
      buffers.writing[index] = cell
      cells.append(cell)
      bytes += cell.byteCount
    }
    buffers.writingBytes += bytes
    return cells.isEmpty ? nil : WriteBatch(inode: inode, cells: cells)
  }

  /// Lets a batch go that the device has. `next` is where the next extent had best stand.
  func remove(_ batch: borrowing WriteBatch, next: LogicalAddress?) {
    batch.inode.content.assertHeldExclusively()
    let buffers = batch.inode.file
    var bytes = 0
    for cell in batch.cells {
      buffers.writing[cell.index] = nil
      bytes += cell.byteCount
    }
    if let next { buffers.nextAddress = next }
    buffers.writingBytes -= bytes
    buffers.noteBuffered(-bytes)
    releaseItems(bytes: bytes, cells: batch.cells.count)
    unlistIfEmpty(batch.inode)
  }
}

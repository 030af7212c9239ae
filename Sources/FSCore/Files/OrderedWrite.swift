/// A batch of buffered cells of one file on its way to the device.
///
/// 1. The cells are in `writing`, in ascending order, until all of the batch is done.
/// 2. First the device has the data, then a transaction adds the extents, in the order of the
///    file.
struct OrderedWrite {
  /// Bytes of one batch, about.
  static let longestBatch = 32 << 20

  let inode: Inode
  let cells: [BufferCell]
  /// The bytes for which data space is still reserved.
  var reservedBytes: UInt64
  var extents: [OrderedExtent] = []

  init(inode: Inode, cells: [BufferCell]) {
    self.inode = inode
    self.cells = cells
    reservedBytes = cells.reduce(0) { $0 + $1.reservedBytes }
  }

  /// The ranges of the file, as long as they can be.
  var runs: [Range<UInt64>] {
    var runs: [Range<UInt64>] = []
    for cell in cells {
      let size = UInt64(cell.sectorSize)
      cell.forEachRun { sectors in
        let start = cell.start + UInt64(sectors.lowerBound) * size
        let end = cell.start + UInt64(sectors.upperBound) * size
        if let last = runs.last, last.upperBound == start {
          runs[runs.count - 1] = last.lowerBound..<end
        } else {
          runs.append(start..<end)
        }
      }
    }
    return runs
  }

  /// Calls `body` with the bytes of `range`, all of which is in the cells, in order.
  func forEachPiece(
    of range: Range<UInt64>,
    _ body: (UInt64, UnsafeRawBufferPointer) throws(FilesystemError) -> Void
  ) throws(FilesystemError) {
    var index = firstCell(endingAfter: range.lowerBound)
    var position = range.lowerBound
    while position < range.upperBound {
      let cell = cells[index]
      let end = min(cell.start + BufferCell.size, range.upperBound)
      let size = UInt64(cell.sectorSize)
      let sectors = Int((position - cell.start) / size)..<Int((end - cell.start) / size)
      try body(position, UnsafeRawBufferPointer(cell.bytes(sectors)))
      position = end
      index += 1
    }
  }

  private func firstCell(endingAfter offset: UInt64) -> Int {
    var low = 0
    var high = cells.count
    while low < high {
      let middle = (low + high) / 2
      if cells[middle].start + BufferCell.size > offset { high = middle } else { low = middle + 1 }
    }
    return low
  }
}

/// A range of a file whose data are on their way to one range of the device: what Linux calls
/// an ordered extent.
struct OrderedExtent {
  /// What becomes part of the file: less than was written if the file was cut meanwhile.
  var range: Range<UInt64>
  var address: LogicalAddress
  /// How many bytes are written at `address`.
  let length: UInt64
  let place: Place
  /// One for each sector; empty when the file has none.
  var checksums: [UInt8] = []

  /// What stands at `address` so far.
  enum Place {
    /// Nothing: it was allocated for this.
    case new
    /// A preallocated extent of the file.
    case preallocated
    /// Data of the file, which are overwritten: it has no copy on write.
    case data
  }

  init(_ range: Range<UInt64>, at address: LogicalAddress, _ place: Place) {
    self.range = range
    self.address = address
    self.place = place
    length = range.upperBound - range.lowerBound
  }
}

extension FileStore {
  /// How many file extents one new extent replaces at the most: a bound on its transaction.
  private static let mostReplaced = 256

  /// Writes a batch: the device first, then the trees. On a worker.
  func write(_ batch: consuming OrderedWrite) {
    let inode = batch.inode
    do throws(FilesystemError) {
      // Nothing reaches the device any more once a commit has failed.
      if let refusal = transactions.refusal { throw refusal }
      for part in try plan(batch) { try place(part, &batch) }
    } catch {
      recordFailure(error, of: inode)
    }
    space.releaseData(batch.reservedBytes)

    var written: [OrderedExtent] = []
    written.reserveCapacity(batch.extents.count)
    for extent in batch.extents {
      do throws(FilesystemError) {
        written.append(try transfer(extent, batch))
      } catch {
        recordFailure(error, of: inode)
        abandon(extent)
      }
    }
    finish(batch, written)
  }

  /// A range that becomes one extent, or several when free space is in pieces.
  private struct Part {
    var range: Range<UInt64>
    /// Where it is written in place, if it is.
    var existing: (address: LogicalAddress, place: OrderedExtent.Place)?
  }

  /// Divides the batch by what stands on the device now. Takes `content`: another end of the
  /// file may be cut at the same time.
  private func plan(_ batch: OrderedWrite) throws(FilesystemError) -> [Part] {
    let (inode, runs) = (batch.inode, batch.runs)
    return try inode.content.shared { () throws(FilesystemError) in
      try parts(of: runs, inode)
    }
  }

  private func parts(
    of runs: [Range<UInt64>], _ inode: Inode
  ) throws(FilesystemError) -> [Part] {
    var parts: [Part] = []
    for run in runs {
      var start = run.lowerBound
      var replaced = 0
      for extent in try extents(of: inode, in: run) {
        let lower = max(extent.start, run.lowerBound)
        let upper = min(extent.end(sectorSize), run.upperBound)
        if let place = try placeWithin(extent, lower..<upper, inode) {
          if start < lower { parts.append(Part(range: start..<lower)) }
          parts.append(
            Part(range: lower..<upper, existing: (extent.address(of: lower), place)))
          start = upper
          replaced = 0
          continue
        }
        replaced += 1
        if replaced == Self.mostReplaced {
          parts.append(Part(range: start..<upper))
          start = upper
          replaced = 0
        }
      }
      if start < run.upperBound { parts.append(Part(range: start..<run.upperBound)) }
    }
    return parts
  }

  /// Gives a part its place on the device.
  private func place(
    _ part: Part, _ batch: inout OrderedWrite
  ) throws(FilesystemError) {
    if let existing = part.existing {
      batch.extents.append(OrderedExtent(part.range, at: existing.address, existing.place))
      return
    }
    var start = part.range.lowerBound
    while start < part.range.upperBound {
      let wanted = min(part.range.upperBound - start, Format.longestDataExtent)
      let (address, length) = try space.allocateData(
        length: wanted, minimum: sectorSize, hint: hint(for: batch), usingReserved: true)
      batch.reservedBytes -= min(length, batch.reservedBytes)
      decompressed.drop(address, length: length)
      batch.extents.append(
        OrderedExtent(start..<(start + length), at: address, .new))
      start += length
    }
  }

  /// Behind what was placed last, so that a file written in order is read in order.
  private func hint(for batch: borrowing OrderedWrite) -> LogicalAddress? {
    guard let last = batch.extents.last else { return batch.inode.file.nextAddress }
    return last.address + last.length
  }

  /// Brings the data to the device. Checksums are made piece by piece, of what the write brings
  /// into the processor's cache anyway.
  private func transfer(
    _ extent: OrderedExtent, _ batch: borrowing OrderedWrite
  ) throws(FilesystemError) -> OrderedExtent {
    var extent = extent
    let isChecked = !batch.inode.hasUncheckedData
    let sumSize = geometry.checksumType.size
    if isChecked {
      extent.checksums = [UInt8](
        repeating: 0, count: Int(extent.length / sectorSize) * sumSize)
    }
    try batch.forEachPiece(of: extent.range) { (offset, bytes) throws(FilesystemError) in
      let within = offset - extent.range.lowerBound
      if isChecked {
        computeChecksums(bytes, into: &extent.checksums, from: Int(within / sectorSize))
      }
      try device.write(bytes, at: extent.address + within)
    }
    return extent
  }

  private func computeChecksums(
    _ bytes: UnsafeRawBufferPointer, into sums: inout [UInt8], from sector: Int
  ) {
    let type = geometry.checksumType
    let sectorBytes = self.sectorBytes
    sums.withUnsafeMutableBytes { sums in
      for index in 0..<(bytes.count / sectorBytes) {
        type.compute(
          bytes.part(index * sectorBytes, sectorBytes),
          into: sums.part((sector + index) * type.size, type.size))
      }
    }
  }

  func abandon(_ extent: OrderedExtent) {
    if extent.place == .new { space.abandon(extent.address, length: extent.length) }
  }
}

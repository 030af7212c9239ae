/// Buffered cells of one file that are written back together.
///
/// The cells are in `FileBuffers.writing`, in ascending order, until all of the batch is done.
struct WriteBatch {
  /// Bytes of one batch, about.
  static let longest = 32 << 20

  let inode: Inode
  let cells: [BufferCell]
  /// For how many of its bytes data space is reserved.
  let reservedBytes: UInt64

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

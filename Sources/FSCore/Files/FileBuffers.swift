import Synchronization

/// What is buffered of one file. Every `Inode` has one, so it is small while nothing is.
///
/// 1. `dirty` and `writing` are looked at with the inode's `content` held shared at least, and
///    changed with it held exclusively.
/// 2. A sector in `dirty` is newer than the same in `writing`, and that is newer than the device.
/// 3. The bytes of a cell in `writing` never change: its checksums and the device get the same.
/// 4. In the last sector of the file, the bytes beyond its size are zero.
/// 5. While nothing is buffered the whole size is on the device, unless there was no space for it.
/// 6. `dirty` is changed by threads that hold the inode's `lock`, at least shared, and by the one
///    pass of write-back that may run. So a thread that holds it exclusively, and has waited for
///    write-back, finds the file's extents unchanged until it lets go.
/// 7. What every read looks at is left out of the runtime's checks that no two accesses overlap: the
///    locks see to that.
/// 8. `checkInvariants` holds the numbers against the cells, in debug builds of some files at each commit.
final class FileBuffers: @unchecked Sendable {
  /// Written to, and not on its way to the device.
  @exclusivity(unchecked) var dirty: [UInt64: BufferCell] = [:]

  /// On its way.
  @exclusivity(unchecked) var writing: [UInt64: BufferCell] = [:]

  /// Bytes of the sectors in `writing`. Guarded by `content`.
  var writingBytes = 0

  /// Set when the file is to have extents that an inline extent cannot stand beside.
  var forbidsInline = false

  /// Whether the inode is in the set of dirty files. Guarded by `content`.
  var isListed = false

  /// Where the next extent of the file had best stand: behind the last. Guarded by `content`.
  var nextAddress: LogicalAddress?

  /// Where the bytes stand that were read last. Guarded by the inode's `item`.
  @exclusivity(unchecked) var knownExtent: KnownExtent?

  /// The error of the last write-back that failed. Guarded by `WriteFailures`.
  var failure: FilesystemError?

  /// Guarded by write-back's stripe for this inode.
  var passes = WriteBackPasses()

  private let bufferedByteCount = Atomic<Int>(0)
  private let failureCount = Atomic<UInt64>(0)
  private let reportedFailures = Atomic<UInt64>(0)

  /// Whether nothing would be lost with this object: nothing buffered, no error to report. Any
  /// thread may ask.
  var isClean: Bool { bufferedBytes == 0 && failures == failuresReported }

  /// How many bytes are buffered. Any thread may ask.
  var bufferedBytes: Int { bufferedByteCount.load(ordering: .acquiring) }

  func noteBuffered(_ bytes: Int) { bufferedByteCount.add(bytes, ordering: .acquiringAndReleasing) }

  /// How often write-back has failed.
  var failures: UInt64 { failureCount.load(ordering: .acquiring) }

  /// How many of these failures were over when somebody was told of the last.
  var failuresReported: UInt64 { reportedFailures.load(ordering: .acquiring) }

  func noteFailure() { failureCount.add(1, ordering: .acquiringAndReleasing) }

  func noteReport(of failures: UInt64) {
    _ = reportedFailures.max(failures, ordering: .acquiringAndReleasing)
  }

  var isEmpty: Bool { dirty.isEmpty && writing.isEmpty }

  /// The newest buffered bytes of the sector at `offset`, and of those after it in the same
  /// cell, up to `end`, that come from the same place; nil when that sector is not buffered.
  func bytes(at offset: UInt64, end: UInt64) -> UnsafeMutableRawBufferPointer? {
    let index = offset / BufferCell.size
    for (isOlder, cell) in [(false, dirty[index]), (true, writing[index])] {
      guard let cell else { continue }
      let size = UInt64(cell.sectorSize)
      let first = Int((offset - cell.start) / size)
      guard cell.contains(first) else { continue }

      let limit = Int((min(end, cell.start + BufferCell.size) - cell.start + size - 1) / size)
      let newer = isOlder ? dirty[index] : nil
      var last = first + 1
      while last < limit, cell.contains(last), newer?.contains(last) != true { last += 1 }
      return cell.bytes(first..<last)
    }
    return nil
  }

  /// The first sector at or after `offset` that is buffered; nil when none is.
  func firstBuffered(from offset: UInt64) -> UInt64? {
    let index = offset / BufferCell.size
    var best: UInt64?
    for cells in [dirty, writing] {
      if let cell = cells[index], let found = Self.first(in: cell, from: offset) {
        best = min(best ?? .max, found)
      }
    }
    if let best { return best }

    for cells in [dirty, writing] {
      if let next = cells.keys.lazy.filter({ $0 > index }).min(), let cell = cells[next],
        let found = Self.first(in: cell, from: cell.start)
      {
        best = min(best ?? .max, found)
      }
    }
    return best
  }

  private static func first(in cell: BufferCell, from offset: UInt64) -> UInt64? {
    let size = UInt64(cell.sectorSize)
    let sector = (offset - cell.start) / size
    let rest = cell.sectors & ~((1 << sector) - 1)
    return rest == 0 ? nil : cell.start + UInt64(rest.trailingZeroBitCount) * size
  }

  /// Whether sectors of `range`, which is whole sectors, are on their way to the device.
  func isWriting(in range: Range<UInt64>) -> Bool {
    guard !writing.isEmpty else { return false }
    let cells = (range.lowerBound / BufferCell.size)...((range.upperBound - 1) / BufferCell.size)
    return cells.contains { index in
      guard let cell = writing[index] else { return false }
      let size = UInt64(cell.sectorSize)
      let first = (max(range.lowerBound, cell.start) - cell.start) / size
      let end = (min(range.upperBound, cell.start + BufferCell.size) - cell.start) / size
      return cell.sectors & BufferCell.mask(Int(first)..<Int(end)) != 0
    }
  }

  /// Whether bytes at or beyond `offset` are on their way to the device.
  func isWriting(from offset: UInt64) -> Bool {
    writing.values.contains { cell in
      cell.start >= offset
        || (cell.start + BufferCell.size > offset && Self.first(in: cell, from: offset) != nil)
    }
  }
}

/// The passes of write-back over one file, numbered. At most one runs.
struct WriteBackPasses {
  /// The number of the newest pass that began.
  var started: UInt64 = 0
  /// The number of the newest that ended.
  var ended: UInt64 = 0
  var isRunning: Bool { started != ended }
  /// Something was buffered that the running pass may not see.
  var isAnotherWanted = false
  /// Counts what the passes finish, for threads that wait for part of one.
  var batches: UInt64 = 0
}

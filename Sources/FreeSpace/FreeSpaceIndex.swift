/// The free space of one block group, by offset and by size.
///
/// It knows no IO, trees, transactions or locks. It is not safe to share between threads:
/// whoever owns it guards it.
///
/// The group is divided into windows of 32768 sectors (128 MiB with 4 KiB sectors), what
/// one page of bits describes. A window keeps its free runs either as a list, four bytes
/// a run, or, when the list would be larger, as a bitmap. A tree over the windows joins
/// their runs, so that callers see only maximal runs, whatever form the parts have and
/// however many windows they cross.
///
/// Invariants:
/// 1. A sector is free or not; it is described by exactly one window, in one form.
/// 2. The runs of a list are in offset order, not empty, and neither overlap nor touch.
/// 3. Bits of a bitmap from the window's end on are zero.
/// 4. A window's free sectors, number of runs, size classes and longest run are exact.
/// 5. Each node of the tree is what its leaves say: free sectors at both ends, longest
///    run, number of maximal runs and size classes.
/// 6. Lists and bitmaps use at most 32 KiB per GiB of group (with 4 KiB sectors; in
///    general 4096 bytes per 32768 sectors). Descriptors of a fixed size per window, about
///    250 bytes, come on top.
/// 7. A window without free space has no bitmap.
/// 8. `freeBytes` is the sum over all windows.
/// 9. If `knownMisfit` is set, no aligned run of that size exists.
package final class FreeSpaceIndex {
  /// The longest group that an index can be made for, in sectors.
  package static let maximumSectorCount: UInt64 = 1 << 32

  /// The group's logical address.
  package let start: UInt64
  /// The group's length in bytes.
  package let length: UInt64
  package let sectorSize: UInt64

  let sectorShift: UInt64
  let sectorCount: Int
  let windowCount: Int
  let windows: UnsafeMutablePointer<SpaceWindow>
  let tree: RunTree
  var freeSectors = 0
  /// The last allocation that a search of the whole group could not satisfy.
  var knownMisfit: (sectors: Int, alignment: Int)?

  /// Makes the index of a group in which nothing is free.
  ///
  /// The arguments must satisfy `canDescribe`.
  package init(start: UInt64, length: UInt64, sectorSize: UInt64) {
    precondition(Self.canDescribe(start: start, length: length, sectorSize: sectorSize))
    self.start = start
    self.length = length
    self.sectorSize = sectorSize
    sectorShift = UInt64(sectorSize.trailingZeroBitCount)
    sectorCount = Int(length >> sectorShift)
    let perWindow = SpaceWindow.sectorsPerWindow
    windowCount = (sectorCount + perWindow - 1) / perWindow
    windows = .allocate(capacity: windowCount)
    tree = RunTree(leafCount: windowCount)
    for window in 0..<windowCount {
      let count = min(perWindow, sectorCount - window * perWindow)
      (windows + window).initialize(to: SpaceWindow(sectorCount: count))
      tree.setLeaf(window, summary(of: window))
    }
    tree.rebuild()
  }

  private init(copying other: FreeSpaceIndex) {
    start = other.start
    length = other.length
    sectorSize = other.sectorSize
    sectorShift = other.sectorShift
    sectorCount = other.sectorCount
    windowCount = other.windowCount
    windows = .allocate(capacity: windowCount)
    tree = RunTree(leafCount: windowCount)
    freeSectors = other.freeSectors
    knownMisfit = other.knownMisfit
    for window in 0..<windowCount {
      (windows + window).initialize(to: other.windows[window].duplicated())
      tree.setLeaf(window, other.tree.leaf(window))
    }
    tree.rebuild()
  }

  deinit {
    for window in 0..<windowCount { windows[window].deallocate() }
    windows.deinitialize(count: windowCount)
    windows.deallocate()
    tree.deallocate()
  }

  /// An independent index with the same content.
  package func copy() -> FreeSpaceIndex { FreeSpaceIndex(copying: self) }

  /// Whether a group with these values can have an index: addresses in whole sectors,
  /// no overflow, a sector size that is a power of two. Ask before believing a disk.
  package static func canDescribe(start: UInt64, length: UInt64, sectorSize: UInt64) -> Bool {
    guard sectorSize >= 512, sectorSize <= 1 << 20, sectorSize.nonzeroBitCount == 1 else {
      return false
    }
    return length > 0
      && (start | length) & (sectorSize - 1) == 0
      && !start.addingReportingOverflow(length).overflow
      && length / sectorSize <= maximumSectorCount
  }
}

extension FreeSpaceIndex {
  /// The end of the group.
  package var end: UInt64 { start + length }

  package var freeBytes: UInt64 { bytes(freeSectors) }

  /// The length of the longest free run, in bytes, whatever forms its parts have.
  package var largestRun: UInt64 { bytes(tree.root.longest) }

  /// The number of maximal free runs.
  package var rangeCount: Int { tree.root.runCount }

  /// The number of runs kept in lists. A run that crosses windows counts once.
  package var extentCount: Int {
    var count = 0
    var joins = false
    for window in 0..<windowCount {
      let isList = windows[window].bitmap == nil
      let leaf = tree.leaf(window)
      if isList { count += leaf.runCount - (joins && leaf.lead > 0 ? 1 : 0) }
      joins = isList && leaf.trail > 0
    }
    return count
  }

  /// The number of windows kept as bitmaps.
  package var bitmapCount: Int {
    (0..<windowCount).reduce(0) { $0 + (windows[$1].bitmap == nil ? 0 : 1) }
  }

  /// The memory that lists and bitmaps use, in bytes.
  package var memoryBytes: Int {
    (0..<windowCount).reduce(0) { $0 + windows[$1].byteCount }
  }

  /// All memory that the index takes, descriptors included, in bytes.
  package var footprint: Int {
    memoryBytes + windowCount * MemoryLayout<SpaceWindow>.stride + tree.byteCount
  }

  /// What `memoryBytes` never exceeds.
  package var memoryLimit: Int {
    (0..<windowCount).reduce(0) { $0 + windows[$1].listLimit } * MemoryLayout<UInt32>.size
  }

  @inline(__always)
  func bytes(_ sectors: Int) -> UInt64 { UInt64(sectors) &<< sectorShift }

  @inline(__always)
  func address(_ sector: Int) -> UInt64 { start &+ bytes(sector) }

  /// The sectors of a range of bytes.
  func sectors(_ offset: UInt64, _ length: UInt64) throws(FreeSpaceError) -> Range<Int> {
    guard length > 0, (offset | length) & (sectorSize - 1) == 0 else {
      throw .misaligned(offset: offset, length: length)
    }
    guard offset >= start, offset - start < self.length,
      length <= self.length - (offset - start)
    else { throw .outsideGroup(offset: offset, length: length) }
    let lower = Int((offset - start) >> sectorShift)
    return lower..<lower + Int(length >> sectorShift)
  }

  /// The part of a window's sectors, counted from the window's start, in a range.
  @inline(__always)
  func part(of range: Range<Int>, in window: Int) -> Range<Int> {
    let base = window &<< SpaceWindow.sectorShift
    return max(
      0, range.lowerBound &- base)..<min(SpaceWindow.sectorsPerWindow, range.upperBound &- base)
  }

  /// The windows that a range touches.
  @inline(__always)
  func windowIndices(of range: Range<Int>) -> ClosedRange<Int> {
    range.lowerBound >> SpaceWindow.sectorShift...(range.upperBound - 1) >> SpaceWindow.sectorShift
  }

  func summary(of window: Int) -> RunTree.Summary {
    RunTree.Summary(
      length: windows[window].sectorCount, lead: windows[window].lead,
      trail: windows[window].trail, longest: windows[window].census.longest,
      runCount: windows[window].runCount, classes: windows[window].census.classes)
  }
}

/// How much space is kept back for what: pure arithmetic.
struct ReservationPolicy: Sendable {
  let nodeSize: UInt64
  /// Levels of the highest tree, leaves included.
  let height: UInt64
  /// Whether data stand in the metadata space as well.
  let isMixed: Bool
  /// Whether what enters and leaves the extent tree changes a free space tree as well.
  var hasFreeSpaceTree = false

  /// What changing `items` items of trees may take, at most, in bytes.
  ///
  /// Each item may copy one path, and split its leaf once. Splits of inner nodes are rare: one
  /// needs tens of leaf splits below it, so one a level, and a new root, serve for all items.
  func cost(items: Int) -> UInt64 {
    (UInt64(items) * (height + 1) + 2 * height + 1) * nodeSize
  }

  /// What the commit and operations that free space can use when ordinary ones are refused.
  ///
  /// A sixteenth of the metadata space, so that small images stay usable, and a 64th where most of
  /// it is for data; but enough for a deletion (about 15 items) beside a commit: 128 blocks,
  /// unless that were more than a quarter of all. The upper bound is the kernel's.
  func globalReserve(metadataBytes: UInt64) -> UInt64 {
    let share = metadataBytes / (isMixed ? 64 : 16)
    let floor = min(128 * nodeSize, metadataBytes / 4)
    return min(max(share, floor), 512 << 20)
  }

  /// The part of the global reserve that only the commit uses: its root tree, block group items
  /// and chunk tree are few blocks beside the references, which `referenceCost` covers.
  func commitReserve(metadataBytes: UInt64) -> UInt64 {
    globalReserve(metadataBytes: metadataBytes) / 2
  }

  /// What applying pending references to the extent tree, and removing checksums, may take.
  ///
  /// Each touches `bytesPerReference` at most. But no block is copied twice in one transaction, so
  /// all blocks there are is a bound too, and what new items add on top.
  func referenceCost(pending: UInt64, metadataUsed: UInt64) -> UInt64 {
    let each = pending.multipliedReportingOverflow(by: bytesPerReference)
    let all = metadataUsed + 160 * min(pending, 1 << 40) + 16 * nodeSize
    return each.overflow ? all : min(each.partialValue, all)
  }

  /// What each pending reference may take: a leaf of the extent tree, one of the checksums, and
  /// where there is one, one of the free space tree.
  var bytesPerReference: UInt64 { (hasFreeSpaceTree ? 3 : 2) * nodeSize }

  /// By how much the items of buffered data may make trees grow once it is written. A piece is a
  /// file, or 128 KiB of it: it may end as an inline extent. In free space that is all in pieces
  /// each sector becomes an extent of its own, whose three items take 160 bytes and at most 190, in
  /// leaves that are filled by two thirds and more. Copies of what is there already are not in this:
  /// a commit makes their space free again.
  func itemCost(bytes: UInt64, pieces: UInt64) -> UInt64 { bytes / 16 + pieces * 2304 }
}

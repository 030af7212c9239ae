/// Lets a file share extents with another, or with another range of its own: in a transaction for
/// some extents at a time.
///
/// 1. The `lock` of both inodes is held exclusively, and nothing of either is buffered. So the
///    source's extents stay as they are meanwhile, nobody writes where they stand, and whoever wants
///    to do so later finds them shared (`OverwriteRule`).
/// 2. Each step is a whole change: after it the target has the content of the source up to where the
///    step has come, with its size, and the rest is as it was.
/// 3. An extent gets its new reference before the items in the way are dropped: these may refer to
///    the same one.
/// 4. Items are as they were, but for their place and what was cut off: compressed extents stay
///    compressed, and preallocated space stays preallocated, shared from then on.
/// 5. Whether the target's subvolume has become read-only is asked in the transaction, as the flag is set
///    while no handle is open: nothing changes after that.
struct FileCloner: Sendable {
  /// Items that are inserted in one transaction, at the most.
  static let mostInTransaction = 64

  let geometry: Geometry
  let transactions: TransactionManager
  let buffer: WriteBuffer
  let editor: FileExtentEditor
  let writeBack: WriteBack
  let failures: WriteFailures

  private var sectorSize: UInt64 { geometry.sectorSize }

  /// Brings the target into a state in which extents can be put into `range`. May wait for
  /// write-back. Throws where an inline extent is in the way and could not be written elsewhere.
  func prepare(_ target: Inode, for range: CopiedRange) throws(FilesystemError) {
    let size = target.fileSize
    try target.content.exclusive { () throws(FilesystemError) in
      if range.targetEnd > sectorSize { target.file.forbidsInline = true }
      // At 0 the inline extent goes with the first step.
      if range.to > 0 { try buffer.keepInlineAlone(target, size: size) }
      if range.to > size { try buffer.settleTail(of: target, size: size, upTo: range.to) }
    }
    writeBack.flush(target)
    guard range.to > 0, size < sectorSize else { return }
    let isInline = try target.content.shared { () throws(FilesystemError) in
      try target.extents(in: 0..<sectorSize, atMost: 1).first?.isInline == true
    }
    if isInline {
      throw failures.last(of: target) ?? .corrupt("\(target.id) keeps an inline extent")
    }
  }

  static func requireWritable(_ target: Inode) throws(FilesystemError) {
    if target.subvolume.isReadOnly {
      throw .readOnly(target.id.tree.readOnlyHint)
    }
  }

  /// The source's first extent in `range`, if it is an inline one: its bytes are to be copied.
  func inlineExtent(
    of source: Inode, at offset: UInt64
  ) throws(FilesystemError) -> FileExtent? {
    let first = try source.content.shared { () throws(FilesystemError) in
      try source.extents(in: offset..<(offset + 1), atMost: 1).first
    }
    return first?.isInline == true ? first : nil
  }

  /// Clones what one transaction may of `range`: whole sectors, of which the last may be cut off by
  /// the end of the source where the target ends with it. Returns how many bytes that are, and how
  /// many items it took.
  func step(
    _ source: Inode, _ target: Inode, _ range: CopiedRange
  ) throws(FilesystemError) -> (bytes: UInt64, items: Int) {
    source.lock.assertHeldExclusively()
    target.lock.assertHeldExclusively()
    return try target.content.exclusive { () throws(FilesystemError) in
      let plan = try plan(source, target, range)
      try perform(plan, target)
      return (plan.range.length, max(plan.new.count, plan.replaced.count))
    }
  }

  /// What one transaction does.
  private struct Plan {
    /// What it clones, to the byte.
    var range: CopiedRange
    /// The same in the target, in whole sectors.
    var sectors: Range<UInt64>
    /// Items that the target gets.
    var new: [FileExtent] = []
    /// Items that it has there.
    var replaced: [FileExtent]
  }

  /// Reads all that may fail for what stands on the device.
  private func plan(
    _ source: Inode, _ target: Inode, _ range: CopiedRange
  ) throws(FilesystemError) -> Plan {
    var length = range.length.roundedUp(to: sectorSize)
    var found = try source.extents(
      in: range.from..<(range.from + length), atMost: Self.mostInTransaction + 1)
    if let inline = found.firstIndex(where: \.isInline) {
      guard found[inline].start > range.from else {
        throw .corrupt("an inline extent of \(source.id) is cloned")
      }
      length = found[inline].start - range.from
      found.removeSubrange(inline...)
    }
    if found.count > Self.mostInTransaction { length = found.removeLast().start - range.from }

    var replaced = try target.extentsToChange(
      in: range.to..<(range.to + length), atMost: FileExtentEditor.mostRemoved + 1)
    if replaced.count > FileExtentEditor.mostRemoved {
      length = replaced.removeLast().start - range.to
    }
    var plan = Plan(
      range: range.prefix(length), sectors: range.to..<(range.to + length), replaced: replaced)
    for extent in found where !extent.item.isHole {
      let lower = max(extent.start, range.from)
      let upper = min(extent.end(sectorSize), range.from + length)
      guard lower < upper else { continue }
      var part = extent.part(lower..<upper)
      part.start = range.to + (lower - range.from)
      plan.new.append(part)
    }
    return plan
  }

  private func perform(_ plan: Plan, _ target: Inode) throws(FilesystemError) {
    let (size, end) = (target.fileSize, plan.range.targetEnd)
    let holes =
      end > size ? try editor.holeCount(of: target, from: size, to: plan.sectors.upperBound) : 0
    // Replaced and new items are neighbours, and so are the holes between them.
    let items = plan.replaced.count + 2 * plan.new.count
    try transactions.perform(reserving: 8 + items / 4 + holes) {
      (handle) throws(FilesystemError) in
      try Self.requireWritable(target)
      handle.noteChange()
      for extent in plan.new { editor.addReference(to: extent, target, in: handle) }
      try editor.drop(plan.replaced, plan.sectors, of: target, in: handle)
      for extent in plan.new { try editor.insertShared(extent, target, in: handle) }

      if plan.new.contains(where: \.isPreallocated) {
        target.item.withLock { _ = $0.flags.insert(.prealloc) }
      }
      target.growFile(to: end)
      try editor.raiseDiskSize(of: target, to: end, in: handle)
      let diskEnd = target.item.withLock { _ in min(target.diskSize, Format.largestFileSize) }
      let holeEnd = min(plan.sectors.upperBound, diskEnd.roundedUp(to: sectorSize))
      if plan.sectors.lowerBound < holeEnd {
        try editor.fillHoles(of: target, in: plan.sectors.lowerBound..<holeEnd, in: handle)
      }
      try target.writeItem(in: handle)
    }
  }

  /// Gives the target the source's inline extent as it is, compressed or not. False where the target
  /// could not have it: it is longer, or has something behind it.
  func cloneInline(
    _ extent: FileExtent, _ target: Inode
  ) throws(FilesystemError) -> Bool {
    try target.content.exclusive { () throws(FilesystemError) -> Bool in
      let length = extent.item.length
      guard target.fileSize <= length, target.file.isEmpty, !target.file.forbidsInline else {
        return false
      }
      let found = try target.extents(in: 0..<UInt64.max, atMost: 2)
      guard found.count < 2, found.allSatisfy({ $0.end(sectorSize) <= sectorSize }) else {
        return false
      }
      try transactions.perform(reserving: 4) { (handle) throws(FilesystemError) in
        try Self.requireWritable(target)
        handle.noteChange()
        try editor.drop(found, 0..<sectorSize, of: target, in: handle)
        try editor.insertInline(extent, target, in: handle)
        target.growFile(to: length)
        target.item.withLock { target.diskSize = $0.size }
        try target.writeItem(in: handle)
      }
      return true
    }
  }
}

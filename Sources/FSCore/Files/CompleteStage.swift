/// The last stage of an ordered write: what the device has becomes part of the file.
struct CompleteStage: Sendable {
  /// Extents that are added in one transaction, at the most.
  private static let mostInTransaction = 32

  let geometry: Geometry
  let transactions: TransactionManager
  let checksums: ChecksumTree
  let editor: FileExtentEditor
  let sizes: FileSizeEditor
  let place: PlaceStage
  let buffer: WriteBuffer
  let failures: WriteFailures
  let features: CompressionFeatures

  private var sectorSize: UInt64 { geometry.sectorSize }

  /// Adds the extents to the file, in a transaction for some at a time; with the last the cells
  /// of the batch go. Takes the inode's `content`. On a worker.
  ///
  /// - Parameter plan: how the batch was compressed. When that was of no use the file is not
  ///   compressed any more from now on.
  func complete(
    _ batch: borrowing WriteBatch, _ extents: [OrderedExtent], _ plan: CompressionPlan? = nil
  ) {
    let inode = batch.inode
    let hopeless = plan?.isHopeless == true ? plan : nil
    var rest = extents[...]
    while rest.count > Self.mostInTransaction {
      let group = rest.prefix(Self.mostInTransaction)
      inode.content.exclusive { add(clip(group, inode), isLast: false, inode, hopeless) }
      rest = rest.dropFirst(Self.mostInTransaction)
    }

    // In one step: a thread that finds cells leaves it to write-back to bring the size to disk.
    inode.content.exclusive {
      add(clip(rest, inode), isLast: true, inode, hopeless)
      buffer.remove(batch, next: extents.last?.end)
      sizes.settle(inode)
    }
  }

  /// Leaves out what lies beyond the end of a file that was cut meanwhile.
  private func clip(_ group: ArraySlice<OrderedExtent>, _ inode: Inode) -> ArraySlice<OrderedExtent>
  {
    let end = inode.fileSize.roundedUp(to: sectorSize)
    guard let last = group.last, last.range.upperBound > end else { return group }

    var kept: ArraySlice<OrderedExtent> = []
    for var extent in group {
      guard extent.range.lowerBound < end else {
        place.abandon(extent)
        continue
      }
      extent.range = extent.range.lowerBound..<min(extent.range.upperBound, end)
      if extent.place == .preallocated {
        // What stays preallocated has no checksums.
        let sectors = Int((extent.range.upperBound - extent.range.lowerBound) / sectorSize)
        extent.checksums.removeLast(
          max(0, extent.checksums.count - sectors * geometry.checksumType.size))
      }
      kept.append(extent)
    }
    return kept
  }

  /// Adds a group of extents; one at a time when there is too little room for all.
  private func add(
    _ group: ArraySlice<OrderedExtent>, isLast: Bool, _ inode: Inode, _ hopeless: CompressionPlan?
  ) {
    guard !group.isEmpty else { return }
    do throws(FilesystemError) {
      try addOnce(group, isLast: isLast, for: .opportune, inode, hopeless)
    } catch {
      guard case .noSpace = error, transactions.failure == nil else {
        return fail(group, error, inode)
      }
      for index in group.indices {
        let single = group[index...index]
        do throws(FilesystemError) {
          // These data were accepted: they come before what the reserve is kept for.
          let isLast = isLast && index == group.endIndex - 1
          try addOnce(single, isLast: isLast, for: .acceptedData, inode, hopeless)
        } catch {
          fail(single, error, inode)
        }
      }
    }
  }

  private func fail(
    _ group: ArraySlice<OrderedExtent>, _ error: FilesystemError, _ inode: Inode
  ) {
    if let first = group.first, let last = group.last {
      failures.record(error, of: inode, in: first.range.lowerBound..<last.range.upperBound)
    }
    // After an abort the transaction may have the extents; nothing is written any more.
    guard transactions.failure == nil else { return }
    for extent in group { place.abandon(extent) }
  }

  private func addOnce(
    _ group: ArraySlice<OrderedExtent>, isLast: Bool, for purpose: MetadataPurpose,
    _ inode: Inode, _ hopeless: CompressionPlan?
  ) throws(FilesystemError) {
    // All that may fail for what stands on the device is read before anything is changed.
    var replaced: [[FileExtent]] = []
    for extent in group {
      let isNew = extent.place == .new
      let found =
        try isNew
        ? inode.extentsToChange(in: extent.range) : neighbourhood(of: extent, inode)
      if !isNew { _ = try existing(extent, among: found, inode) }
      replaced.append(found)
    }
    let cost = itemCost(of: group, replaced: replaced.reduce(0) { $0 + $1.count })

    try transactions.perform(reserving: cost, for: purpose) {
      (handle) throws(FilesystemError) in
      handle.noteChange()
      for (number, extent) in group.enumerated() {
        // What the one before has changed is read anew.
        if number > 0, isTouched(replaced[number], by: replaced[number - 1], extent) {
          replaced[number] = try neighbourhood(of: extent, inode)
        }
        switch extent.place {
        case .new: try insertNew(extent, replacing: replaced[number], inode, in: handle)
        case .preallocated: try markWritten(extent, replaced[number], inode, in: handle)
        case .data: break
        }
        try extent.checksums.withUnsafeBytesThrowing { (sums) throws(FilesystemError) in
          try checksums.insert(at: extent.address, sums, in: handle)
        }
      }
      let reached = group[group.endIndex - 1].range.upperBound
      try editor.raiseDiskSize(
        of: inode, to: isLast && inode.file.dirty.isEmpty ? .max : reached, in: handle)
      if let hopeless { inode.item.withLock { hopeless.remember(in: &$0.flags) } }
      try inode.writeItem(in: handle)
    }
  }

  /// Whether what was found for `extent` may have been changed by the extent before it, for
  /// which `before` was found.
  private func isTouched(
    _ found: [FileExtent], by before: [FileExtent], _ extent: OrderedExtent
  ) -> Bool {
    // One in place becomes one item with a neighbour, which may be new.
    if extent.place == .preallocated { return true }
    guard let first = found.first, let last = before.last else { return false }
    return last.end(sectorSize) > first.start
  }

  /// Items that adding the extents may change: the trees' and the references of each, and the
  /// inode's.
  private func itemCost(of group: ArraySlice<OrderedExtent>, replaced: Int) -> Int {
    let sums = group.reduce(0) { $0 + $1.checksums.count }
    let sumItems = sums / (geometry.maximumItemSize / 2) + 2 * group.count
    // Replaced items are neighbours, so many go with one leaf.
    return 2 + 4 * group.count + replaced / 16 + sumItems
  }

  /// What an extent replaces, and of a preallocated one also what stands right beside it.
  private func neighbourhood(
    of extent: OrderedExtent, _ inode: Inode
  ) throws(FilesystemError) -> [FileExtent] {
    guard extent.place == .preallocated else { return try inode.extents(in: extent.range) }
    let lower = extent.range.lowerBound
    return try inode.extents(
      in: (lower > 0 ? lower - 1 : 0)..<(extent.range.upperBound + 1))
  }

  private func insertNew(
    _ extent: OrderedExtent, replacing found: [FileExtent], _ inode: Inode,
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    features.note(extent.compression)
    let item = FileExtentItem(
      generation: handle.generation, kind: .regular, diskAddress: extent.address,
      diskLength: extent.diskLength, ramBytes: extent.fileLength, offset: 0,
      length: extent.range.upperBound - extent.range.lowerBound,
      compression: extent.compression)
    try editor.drop(found, extent.range, of: inode, in: handle)
    try editor.insertNewExtent(
      FileExtent(start: extent.range.lowerBound, item: item), inode, in: handle)
  }

  /// The item in which `extent` was written.
  private func existing(
    _ extent: OrderedExtent, among found: [FileExtent], _ inode: Inode
  ) throws(FilesystemError) -> Int {
    let index = found.firstIndex {
      $0.item.kind == (extent.place == .preallocated ? .preallocated : .regular)
        && $0.start <= extent.range.lowerBound
        && $0.end(sectorSize) >= extent.range.upperBound
        && $0.address(of: extent.range.lowerBound) == extent.address
    }
    guard let index else {
      throw .corrupt("the space of \(inode.id) at \(extent.range.lowerBound) is gone")
    }
    return index
  }

  /// Makes the written part of a preallocated extent a regular one, as one item with what was
  /// written beside it before.
  private func markWritten(
    _ extent: OrderedExtent, _ found: [FileExtent], _ inode: Inode,
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let index = try existing(extent, among: found, inode)
    let whole = found[index]
    var written = whole.part(extent.range)
    written.item.kind = .regular
    written.item.generation = handle.generation

    var old = [whole]
    var new: [FileExtent] = []
    if whole.start < extent.range.lowerBound {
      new.append(whole.part(whole.start..<extent.range.lowerBound))
    } else if index > 0, found[index - 1].isContinued(by: written) {
      let before = found[index - 1]
      old.insert(before, at: 0)
      written.start = before.start
      written.item.offset = before.item.offset
      written.item.length += before.item.length
    }

    let end = whole.end(sectorSize)
    if extent.range.upperBound < end {
      new.append(written)
      new.append(whole.part(extent.range.upperBound..<end))
    } else {
      if index + 1 < found.count, written.isContinued(by: found[index + 1]) {
        old.append(found[index + 1])
        written.item.length += found[index + 1].item.length
      }
      new.append(written)
    }
    try editor.replaceItems(old, with: new, of: inode, in: handle)
  }
}

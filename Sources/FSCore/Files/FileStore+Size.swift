/// Making files longer and shorter.
extension FileStore {
  /// Extents that are removed in one transaction, at the most.
  static let mostRemoved = 128

  /// Sets the size of a file, and its times when that is another size. Gives back space beyond
  /// the end unless the file grows. The inode's `lock` is held exclusively; takes its `content`,
  /// and may wait for write-back.
  package func changeSize(of inode: Inode, to size: UInt64) throws(FilesystemError) {
    guard size <= Self.largestSize else { throw .fileTooLarge }
    if size > inode.fileSize {
      try grow(inode, to: size)
    } else {
      try shrink(inode, to: size)
    }
  }

  /// Removes all that a file holds, on disk too. The inode's `lock` is held exclusively, and
  /// nobody will read or write the file again.
  package func deleteContent(of inode: Inode) throws(FilesystemError) {
    inode.content.exclusive {
      discard(inode, from: 0)
      inode.item.withLock { $0.size = 0 }
    }
    waitForBatches(of: inode, beyond: 0)
    guard try lastExtent(of: inode, atMost: .max) != nil else { return }
    try cutExtents(of: inode, from: 0)
  }

  private func grow(_ inode: Inode, to size: UInt64) throws(FilesystemError) {
    try inode.content.exclusive { () throws(FilesystemError) in
      let old = inode.fileSize
      try settleTail(of: inode, size: old, upTo: .max)
      try keepInlineAlone(inode, size: old)
      guard inode.file.isEmpty else {
        // What is buffered belongs before the new size: write-back brings both to disk.
        setSize(of: inode, to: size)
        return
      }

      let cost = try 4 + holeCount(of: inode, from: old, to: size)
      try transactions.perform(reserving: cost) { (handle) throws(FilesystemError) in
        handle.noteChange()
        setSize(of: inode, to: size)
        try raiseDiskSize(of: inode, to: size, in: handle)
        try inode.writeItem(in: handle)
      }
    }
  }

  /// How many hole items it may take to cover what lies between two sizes.
  func holeCount(
    of inode: Inode, from old: UInt64, to new: UInt64
  ) throws(FilesystemError) -> Int {
    guard !geometry.hasNoHoles else { return 0 }
    let first = min(old, inode.item.withLock { _ in inode.diskSize })
    return first < new ? try extents(of: inode, in: first..<new).count + 1 : 0
  }

  func setSize(of inode: Inode, to size: UInt64) {
    let now = self.now()
    inode.item.withLock { item in
      item.size = size
      item.mtime = now
      item.ctime = now
    }
  }

  private func shrink(_ inode: Inode, to size: UInt64) throws(FilesystemError) {
    let cut = size.roundedUp(to: sectorSize)
    let old = inode.fileSize
    try inode.content.exclusive { () throws(FilesystemError) in
      try zeroTail(of: inode, from: size)
      discard(inode, from: cut)
      // From here on write-back adds nothing beyond.
      if size != old { setSize(of: inode, to: size) }
      if size == 0 { inode.file.forbidsInline = false }
    }
    // And if the file grows again, what was on its way must not appear.
    waitForBatches(of: inode, beyond: cut)
    if size == old, try extents(of: inode, in: cut..<UInt64.max, atMost: 1).isEmpty { return }
    try cutExtents(of: inode, from: cut)
  }

  /// Makes the bytes between a new size and the end of its sector zero. `content` is held
  /// exclusively.
  private func zeroTail(of inode: Inode, from size: UInt64) throws(FilesystemError) {
    let sector = size.roundedDown(to: sectorSize)
    let old = inode.fileSize
    guard sector < size, size < old else { return }

    if inode.file.bytes(at: sector, end: size) == nil {
      guard let extent = try extents(of: inode, in: sector..<size, atMost: 1).first,
        extent.hasData
      else { return }
      // One that is not compressed is cut with the rest of the extents.
      if extent.isInline && extent.item.compression == .none { return }
    }
    do throws(FilesystemError) {
      try put(inode, size..<(sector + sectorSize), nil, size: old)
    } catch .noSpace {
      // A full file system must let files be cut. Nobody sees these bytes, and `settleTail`
      // looks for them when the file grows.
    }
  }

  /// Waits until nothing beyond `cut` is on its way to the device. The inode's `lock` is held
  /// exclusively, so nothing new is buffered.
  private func waitForBatches(of inode: Inode, beyond cut: UInt64) {
    while true {
      let seen = stripe(of: inode).withLock { _ in inode.file.passes.batches }
      guard inode.content.shared({ inode.file.isWriting(from: cut) }) else { return }
      stripe(of: inode).when({ _ in inode.file.passes.batches != seen }) { _ in }
    }
  }

  /// Removes the extents from `cut` on, the last first, and lowers the size on disk with each
  /// step: at no moment does anything stand beyond it that could reappear.
  private func cutExtents(of inode: Inode, from cut: UInt64) throws(FilesystemError) {
    var isDone = false
    while !isDone {
      isDone = try inode.content.exclusive { () throws(FilesystemError) in
        let (start, count) = try lastExtents(of: inode, from: cut)
        let found = try extentsToChange(of: inode, in: start..<UInt64.max)
        let inline = try start == cut ? inlineToCut(inode) : nil
        let holes = start == cut ? try holeCount(of: inode, from: start, to: inode.fileSize) : 0
        try transactions.perform(reserving: 6 + count / 4 + holes, useGlobalReserve: true) {
          (handle) throws(FilesystemError) in
          handle.noteChange()
          try drop(found, start..<UInt64.max, of: inode, in: handle)
          if let inline { try cutInline(inline, inode, in: handle) }
          inode.item.withLock { inode.diskSize = min(inode.diskSize, max(start, cut), $0.size) }
          if start == cut, inode.file.isEmpty {
            try raiseDiskSize(of: inode, to: .max, in: handle)
          }
          try inode.writeItem(in: handle)
        }
        return start == cut
      }
    }
  }

  /// Where to cut next so that not too many extents are removed at once, and how many are.
  private func lastExtents(
    of inode: Inode, from cut: UInt64
  ) throws(FilesystemError) -> (start: UInt64, count: Int) {
    var offset = UInt64.max
    for count in 0..<Self.mostRemoved {
      guard let extent = try lastExtent(of: inode, atMost: offset),
        extent.end(sectorSize) > cut
      else { return (cut, count) }
      if extent.start <= cut { return (cut, count + 1) }
      offset = extent.start - 1
    }
    return (offset + 1, Self.mostRemoved)
  }

  /// The inline extent that has become longer than its file.
  private func inlineToCut(_ inode: Inode) throws(FilesystemError) -> FileExtent? {
    let size = inode.fileSize
    guard size > 0, size < sectorSize,
      let extent = try extents(of: inode, in: 0..<sectorSize, atMost: 1).first, extent.isInline,
      extent.item.compression == .none, extent.item.length > size
    else { return nil }
    return extent
  }

  private func cutInline(
    _ extent: FileExtent, _ inode: Inode, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let content = Array(extent.inlineBytes.prefix(Int(inode.fileSize)))
    try drop([extent], 0..<sectorSize, of: inode, in: handle)
    try content.withUnsafeBytesThrowing { (bytes) throws(FilesystemError) in
      try insertInline(bytes, inode, in: handle)
    }
  }
}

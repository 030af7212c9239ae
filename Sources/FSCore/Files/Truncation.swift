/// Makes files longer and shorter.
///
/// 1. The inode's `lock` is held exclusively, so nobody buffers anything meanwhile; `content` is
///    taken for one transaction at a time.
/// 2. Extents go from the last to the first, and the size on disk is lowered with each step: at no
///    moment does anything stand beyond it that could reappear.
/// 3. What was on its way to the device beyond the new end is waited for before the file may grow
///    again.
struct Truncation: Sendable {
  let geometry: Geometry
  let transactions: TransactionManager
  let buffer: WriteBuffer
  let editor: FileExtentEditor
  let writeBack: WriteBack

  private var sectorSize: UInt64 { geometry.sectorSize }

  /// Sets the size of a file, and its times when that is another size. Gives back space beyond
  /// the end unless the file grows. The inode's `lock` is held exclusively; takes its `content`,
  /// and may wait for write-back.
  func changeSize(of inode: Inode, to size: UInt64) throws(FilesystemError) {
    inode.lock.assertHeldExclusively()
    guard size <= Format.largestFileSize else { throw .fileTooLarge }
    if size > inode.fileSize {
      try grow(inode, to: size)
    } else {
      try shrink(inode, to: size)
    }
  }

  /// Removes all that a file holds, on disk too. The inode's `lock` is held exclusively, and
  /// nobody will read or write the file again.
  func deleteContent(of inode: Inode) throws(FilesystemError) {
    inode.lock.assertHeldExclusively()
    inode.content.exclusive {
      buffer.discard(inode, from: 0)
      inode.item.withLock { $0.size = 0 }
    }
    writeBack.waitForBatches(of: inode, beyond: 0)
    guard try inode.lastExtent(atMost: .max) != nil else { return }
    try cutExtents(of: inode, from: 0)
  }

  private func grow(_ inode: Inode, to size: UInt64) throws(FilesystemError) {
    try inode.content.exclusive { () throws(FilesystemError) in
      let old = inode.fileSize
      try buffer.settleTail(of: inode, size: old, upTo: .max)
      try buffer.keepInlineAlone(inode, size: old)
      guard inode.file.isEmpty else {
        // What is buffered belongs before the new size: write-back brings both to disk.
        inode.setFileSize(size)
        return
      }

      let cost = try 4 + editor.holeCount(of: inode, from: old, to: size)
      try transactions.perform(reserving: cost) { (handle) throws(FilesystemError) in
        handle.noteChange()
        inode.setFileSize(size)
        try editor.raiseDiskSize(of: inode, to: size, in: handle)
        try inode.writeItem(in: handle)
      }
    }
  }

  private func shrink(_ inode: Inode, to size: UInt64) throws(FilesystemError) {
    let cut = size.roundedUp(to: sectorSize)
    let old = inode.fileSize
    try inode.content.exclusive { () throws(FilesystemError) in
      try zeroTail(of: inode, from: size)
      buffer.discard(inode, from: cut)
      // From here on write-back adds nothing beyond.
      if size != old { inode.setFileSize(size) }
      if size == 0 { inode.file.forbidsInline = false }
    }
    // And if the file grows again, what was on its way must not appear.
    writeBack.waitForBatches(of: inode, beyond: cut)
    if size == old, try inode.extents(in: cut..<UInt64.max, atMost: 1).isEmpty { return }
    try cutExtents(of: inode, from: cut)
  }

  /// Makes the bytes between a new size and the end of its sector zero. `content` is held
  /// exclusively.
  private func zeroTail(of inode: Inode, from size: UInt64) throws(FilesystemError) {
    let sector = size.roundedDown(to: sectorSize)
    let old = inode.fileSize
    guard sector < size, size < old else { return }

    if inode.file.bytes(at: sector, end: size) == nil {
      guard let extent = try inode.extents(in: sector..<size, atMost: 1).first,
        extent.hasData
      else { return }
      // One that is not compressed is cut with the rest of the extents.
      if extent.isInline && extent.item.compression == .none { return }
    }
    do throws(FilesystemError) {
      try buffer.put(inode, size..<(sector + sectorSize), nil, size: old)
    } catch .noSpace {
      // A full file system must let files be cut. Nobody sees these bytes, and `settleTail`
      // looks for them when the file grows.
    }
  }

  /// Removes the extents from `cut` on, the last first, and lowers the size on disk with each
  /// step: at no moment does anything stand beyond it that could reappear.
  private func cutExtents(of inode: Inode, from cut: UInt64) throws(FilesystemError) {
    var isDone = false
    while !isDone {
      isDone = try inode.content.exclusive { () throws(FilesystemError) in
        let (start, count) = try lastExtents(of: inode, from: cut)
        let found = try inode.extentsToChange(in: start..<UInt64.max)
        let inline = try start == cut ? inlineToCut(inode) : nil
        let holes =
          start == cut ? try editor.holeCount(of: inode, from: start, to: inode.fileSize) : 0
        try transactions.perform(reserving: 6 + count / 4 + holes, useGlobalReserve: true) {
          (handle) throws(FilesystemError) in
          handle.noteChange()
          try editor.drop(found, start..<UInt64.max, of: inode, in: handle)
          if let inline { try cutInline(inline, inode, in: handle) }
          inode.item.withLock { inode.diskSize = min(inode.diskSize, max(start, cut), $0.size) }
          if start == cut, inode.file.isEmpty {
            try editor.raiseDiskSize(of: inode, to: .max, in: handle)
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
    for count in 0..<FileExtentEditor.mostRemoved {
      guard let extent = try inode.lastExtent(atMost: offset),
        extent.end(sectorSize) > cut
      else { return (cut, count) }
      if extent.start <= cut { return (cut, count + 1) }
      offset = extent.start - 1
    }
    return (offset + 1, FileExtentEditor.mostRemoved)
  }

  /// The inline extent that has become longer than its file.
  private func inlineToCut(_ inode: Inode) throws(FilesystemError) -> FileExtent? {
    let size = inode.fileSize
    guard size > 0, size < sectorSize,
      let extent = try inode.extents(in: 0..<sectorSize, atMost: 1).first, extent.isInline,
      extent.item.compression == .none, extent.item.length > size
    else { return nil }
    return extent
  }

  private func cutInline(
    _ extent: FileExtent, _ inode: Inode, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let content = Array(extent.inlineBytes.prefix(Int(inode.fileSize)))
    try editor.drop([extent], 0..<sectorSize, of: inode, in: handle)
    try content.withUnsafeBytesThrowing { (bytes) throws(FilesystemError) in
      try editor.insertInline(bytes, of: UInt64(bytes.count), .none, inode, in: handle)
    }
  }
}

extension FileBuffers: FileState {}

/// What an inode says of its file.
extension Inode {
  /// Buffered data of a regular file. `InodeTable` gives one to every inode.
  @inline(__always)
  var file: FileBuffers { unsafeDowncast(fileState, to: FileBuffers.self) }

  /// The size of the file; no more than the largest, whatever the image says.
  var fileSize: UInt64 { item.withLock { min($0.size, Format.largestFileSize) } }

  /// Where `range` stands, if it lies in the extent that was read last and the tree has not changed
  /// since, and whether its data have checksums.
  func knownExtent(
    of range: Range<UInt64>, _ changeCount: UInt64
  ) -> (address: LogicalAddress, isChecked: Bool)? {
    item.withLock { item in
      guard let known = file.knownExtent, known.changeCount == changeCount,
        known.range.lowerBound <= range.lowerBound, range.upperBound <= known.range.upperBound
      else { return nil }
      return (
        known.address + (range.lowerBound - known.range.lowerBound),
        !item.flags.contains(.noDataSum)
      )
    }
  }

  /// Takes note of an extent whose bytes stand on the device as they are in the file. The change count
  /// is that of the tree before the extent was looked up.
  func remember(_ extent: FileExtent, _ changeCount: UInt64) {
    guard extent.item.kind == .regular, extent.hasData, extent.item.compression == .none else {
      return
    }
    let known = KnownExtent(
      range: extent.start..<(extent.start + extent.item.length),
      address: extent.address(of: extent.start), changeCount: changeCount)
    item.withLock { _ in file.knownExtent = known }
  }

  /// Whether the file's data have no checksums.
  var hasUncheckedData: Bool { item.withLock { $0.flags.contains(.noDataSum) } }

  /// Whether the file's data are overwritten where they stand, as far as nobody shares them. It
  /// is so for new files alone, and checksums could not follow.
  var isOverwritten: Bool {
    item.withLock { $0.flags.isSuperset(of: [.noDataCow, .noDataSum]) }
  }

  /// The attributes, and how many buffered bytes have no space yet, about: those that make the file
  /// longer. `nbytes` does not have them, but `stat` is to count them.
  var attributesAndBytesWithoutSpace: (InodeItem, UInt64) {
    let unit = subvolume.geometry.sectorSize
    let isRegular = self.isRegular
    let (item, longer) = item.withLock { item -> (InodeItem, UInt64) in
      guard isRegular, item.size > diskSize else { return (item, 0) }
      let end = min(item.size, Format.largestFileSize).roundedUp(to: unit)
      let diskEnd = min(diskSize, Format.largestFileSize).roundedUp(to: unit)
      return (item, end - min(end, diskEnd))
    }
    // Mostly it is not longer, and nobody need look at the buffers.
    guard longer > 0 else { return (item, 0) }
    return (item, min(UInt64(max(0, file.bufferedBytes)), longer))
  }

  /// Sets the size of the file, and its times to now. `content` is held exclusively.
  func setFileSize(_ size: UInt64) {
    content.assertHeldExclusively()
    let now = Timestamp.now
    item.withLock { item in
      item.size = size
      item.mtime = now
      item.ctime = now
    }
  }

  /// Sets the times to now, and the size when it is smaller. `content` is held exclusively.
  func growFile(to size: UInt64) {
    content.assertHeldExclusively()
    let now = Timestamp.now
    item.withLock { item in
      item.size = max(item.size, size)
      item.mtime = now
      item.ctime = now
    }
  }
}

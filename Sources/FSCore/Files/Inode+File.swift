extension FileBuffers: FileState {}

/// What an inode says of its file.
extension Inode {
  /// Buffered data of a regular file. `InodeTable` gives one to every inode.
  @inline(__always)
  var file: FileBuffers { unsafeDowncast(fileState, to: FileBuffers.self) }

  /// The size of the file; no more than the largest, whatever the image says.
  var fileSize: UInt64 { item.withLock { min($0.size, Format.largestFileSize) } }

  /// Whether the file's data have no checksums.
  var hasUncheckedData: Bool { item.withLock { $0.flags.contains(.noDataSum) } }

  /// Whether the file's data are overwritten where they stand, as far as nobody shares them. It
  /// is so for new files alone, and checksums could not follow.
  var isOverwritten: Bool {
    item.withLock { $0.flags.isSuperset(of: [.noDataCow, .noDataSum]) }
  }

  /// How many buffered bytes have no space yet, about: those that make the file longer. `nbytes`
  /// does not have them, but `stat` is to count them.
  var bytesWithoutSpace: UInt64 {
    let buffered = UInt64(max(0, file.bufferedBytes))
    guard buffered > 0 else { return 0 }
    let unit = subvolume.geometry.sectorSize
    return item.withLock { item in
      let end = min(item.size, Format.largestFileSize).roundedUp(to: unit)
      let diskEnd = min(diskSize, Format.largestFileSize).roundedUp(to: unit)
      return min(buffered, end - min(end, diskEnd))
    }
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

/// Writes a superblock where it belongs on a device. All that it leads to is durable.
struct SuperblockWriter {
  let device: any BlockDevice

  /// The first superblock, flush; then its copies, which are for recovery: the next commit's
  /// first flush makes them durable, or the one at unmount.
  func write(_ superblock: Superblock) throws(FilesystemError) {
    for offset in Superblock.offsets(deviceSize: try superblock.deviceItem.totalBytes) {
      let copy = superblock.sealed(for: offset)
      try device.write(copy.readable, at: offset)
      if offset.rawValue == Format.superblockOffsets[0] { try device.flush() }
    }
  }
}

/// Writes a superblock where it belongs: to every device, with what it says of that one. All that it
/// leads to is durable.
struct SuperblockWriter {
  let devices: DeviceSet

  /// Of each device that is open.
  let items: [DeviceItem]

  /// The first superblocks, flush: from then on the transaction is durable.
  ///
  /// - Parameter clock: is told when a step ends.
  func writeFirst(_ superblock: Superblock, clock: CommitClock) throws(FilesystemError) {
    try write(superblock, isFirst: true)
    clock.end(.superblocks)
    try devices.flush()
    clock.end(.flushes)
  }

  /// Their copies, which are for recovery: the next commit's first flush makes them durable, or the
  /// one at unmount.
  func writeCopies(_ superblock: Superblock, clock: CommitClock) throws(FilesystemError) {
    try write(superblock, isFirst: false)
    clock.end(.superblocks)
  }

  private func write(_ superblock: Superblock, isFirst: Bool) throws(FilesystemError) {
    for member in devices.members {
      guard let item = items.first(where: { $0.deviceID == member.id }) else {
        throw .corrupt("the superblock says nothing of device \(member.id)")
      }
      var ofDevice = superblock
      ofDevice.setDeviceItem(item)
      for place in Superblock.offsets(deviceSize: item.totalBytes)
      where (place.rawValue == Format.superblockOffsets[0]) == isFirst {
        let copy = ofDevice.sealed(for: place)
        // The pointer alone does not keep the memory: another thread would take and write it.
        defer { withExtendedLifetime(copy) {} }
        try devices.write(copy.readable, at: DeviceAddress(device: member.id, offset: place))
      }
    }
  }
}

/// Writes a superblock where it belongs: to every device, with what it says of that one. All that it
/// leads to is durable.
struct SuperblockWriter {
  let devices: DeviceSet

  /// The first superblocks, flush; then their copies, which are for recovery: the next commit's
  /// first flush makes them durable, or the one at unmount.
  ///
  /// - Parameters:
  ///   - items: of each device that is open.
  ///   - clock: is told when a step ends.
  func write(
    _ superblock: Superblock, items: [DeviceItem], clock: CommitClock
  ) throws(FilesystemError) {
    for isFirst in [true, false] {
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
          try member.device.write(copy.readable, at: place)
        }
      }
      clock.end(.superblocks)
      if isFirst {
        try devices.flush()
        clock.end(.flushes)
      }
    }
  }
}

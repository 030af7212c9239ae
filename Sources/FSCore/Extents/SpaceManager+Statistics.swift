/// The figures that statfs is made of (format §17), all in bytes.
package struct SpaceStatistics: Sendable, Equatable {
  /// How many copies there are of data: what `total` and `used` are divided by.
  package var dataCopies: UInt64
  /// The size of the device, or of all devices.
  package var total: UInt64
  /// What extents take there, every copy counted.
  package var used: UInt64
  package var globalReserve: UInt64
  /// What could still be written as data.
  package var availableData: UInt64

  package var freeForUser: UInt64 {
    let total = total / dataCopies
    let taken = used / dataCopies + globalReserve
    return total > taken ? total - taken : 0
  }
}

extension SpaceManager {
  package var statistics: SpaceStatistics {
    // Groups on other devices have whatever length the image says.
    let unit = geometry.sectorSize
    var sectors: UInt64 = 0
    for group in groups { sectors += group.used / unit * UInt64(group.flags.copies) }
    let used = min(sectors, .max / 2 / unit) * unit
    let copies = UInt64(data.profile.copies)
    let reserve = globalReserve

    let counters = data.counters.withLock { $0 }
    // As the kernel has it, a volume that is not written has no room in its block groups.
    let existing = isReadOnly ? 0 : counters.length - counters.used - counters.inFlight
    let taken = counters.reservedData + (geometry.isMixed ? counters.reservedMetadata + reserve : 0)
    let unallocated = chunkAllocator.unallocated / copies
    return SpaceStatistics(
      dataCopies: copies, total: totalBytes, used: used, globalReserve: reserve,
      availableData: (existing > taken ? existing - taken : 0) + unallocated)
  }
}

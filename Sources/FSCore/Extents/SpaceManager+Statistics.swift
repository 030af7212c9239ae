/// The figures that statfs is made of (format §17), all in bytes.
package struct SpaceStatistics: Sendable, Equatable {
  /// How many copies of data the device holds: what `total` and `used` are divided by.
  package var dataCopies: UInt64
  /// The device's size.
  package var total: UInt64
  /// What extents take on the device, every copy counted.
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
    var used: UInt64 = 0
    for group in groups { used += group.used * UInt64(group.flags.copies) }
    let copies = UInt64(data.profile.copies)
    let reserve = globalReserve

    let counters = data.counters.withLock { $0 }
    // As the kernel has it, a volume that is not written has no room in its block groups.
    let existing = isReadOnly ? 0 : counters.length - counters.used - counters.inFlight
    let taken = counters.reserved + (geometry.isMixed ? counters.promised + reserve : 0)
    let unallocated = chunkAllocator.unallocated / copies
    return SpaceStatistics(
      dataCopies: copies, total: deviceBytes, used: used, globalReserve: reserve,
      availableData: (existing > taken ? existing - taken : 0) + unallocated)
  }
}

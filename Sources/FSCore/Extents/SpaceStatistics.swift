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

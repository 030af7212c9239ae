/// The bytes of all block groups of one class, by what they are. Superblock copies are left out.
///
/// 1. `length == used + free + unloaded + pinned + inFlight + unusable`.
/// 2. A reservation is made under the same hold of the lock under which `free` is looked at.
/// 3. What is allocated from a reservation leaves `free` and the reservation in one step.
struct SpaceCounters: Sendable, Equatable {
  var length: UInt64 = 0
  /// Extents that the extent tree has items for.
  var used: UInt64 = 0
  /// What can be allocated now: free in a loaded group.
  var free: UInt64 = 0
  /// Free in groups that are not loaded yet.
  var unloaded: UInt64 = 0
  /// Freed, and allocatable after the next commit.
  var pinned: UInt64 = 0
  /// Allocated, without an item in the extent tree yet.
  var inFlight: UInt64 = 0
  /// Free in groups whose free space could not be found out.
  var unusable: UInt64 = 0

  /// Of `free`: kept for data that was accepted and has no extent yet.
  var reservedData: UInt64 = 0
  /// Of `free`: kept for the items of data that was accepted and is not written back.
  var reservedItems: UInt64 = 0
  /// Of `free`: kept for tree blocks that open handles have not taken yet.
  var reservedMetadata: UInt64 = 0
  /// How many reservations for tree blocks were given back.
  var returns: UInt64 = 0
  /// How many threads wait for `returns` to grow.
  var waiters = 0

  /// Of `free`: kept for anybody.
  var reserved: UInt64 { reservedData + reservedItems + reservedMetadata }

  /// Whether `canSpare` allows that `length` bytes of what is free are taken.
  func allows(
    taking length: UInt64, if canSpare: (_ now: SpaceCounters, _ then: SpaceCounters) -> Bool
  ) -> Bool {
    guard free >= length else { return false }
    var then = self
    then.free -= length
    return canSpare(self, then)
  }

  /// `length` bytes were allocated that `reserve` had kept.
  mutating func debit(_ length: UInt64, from reserve: SpaceReserve) {
    switch reserve {
    case .none: break
    case .data: reservedData -= min(length, reservedData)
    case .metadata: reservedMetadata -= min(length, reservedMetadata)
    }
  }
}

/// What kept the space that is being allocated.
enum SpaceReserve: Sendable {
  /// No reservation of a class: the commit's reserve, or free space that happens to be there.
  case none
  case data
  case metadata
}

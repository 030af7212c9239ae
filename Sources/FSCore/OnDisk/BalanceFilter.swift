/// Which block groups of one type a balance moves, and what becomes of them. All filters that are
/// given must agree.
package struct BalanceFilter: Sendable, Equatable {
  /// What new chunks are to be.
  package enum Profile: Sendable, Equatable {
    case single
    case dup

    package var flags: BlockGroupFlags { self == .dup ? .dup : [] }
  }

  /// Profiles of groups that are moved; nil: all.
  package var profiles: Set<Profile>?
  /// How full a group is, in percent of its length: at least the lower bound, less than the upper.
  package var usage: Range<UInt32>?
  /// At least so many groups must match, or none is moved; and at most so many are moved.
  package var limit: ClosedRange<UInt32>?
  /// Groups with a copy on this device.
  package var device: DeviceID?
  /// Groups with a copy that has a byte of this range of the device. Needs `device`.
  package var deviceRange: Range<UInt64>?
  /// Groups that have a byte of this range of logical addresses.
  package var range: Range<UInt64>?
  /// What new chunks are to be; nil: what they would be without a balance.
  package var target: Profile?
  /// Groups that are what `target` says already are left alone.
  package var isSoft = false

  package init() {}
}

/// A balance: which types of block groups it is about, and with which filters.
package struct BalancePlan: Sendable, Equatable {
  /// Nil: groups of this type stay.
  package var data: BalanceFilter?
  package var metadata: BalanceFilter?
  package var system: BalanceFilter?
  /// The caller has said that he means it: system groups move otherwise than
  /// metadata, and copies may become fewer.
  package var isForced = false

  package init() {}

  /// Everything but system groups.
  package static var all: BalancePlan {
    var plan = BalancePlan()
    plan.data = BalanceFilter()
    plan.metadata = BalanceFilter()
    return plan
  }

  /// The filter for groups of these flags. Mixed groups are data and metadata.
  package func filter(of flags: BlockGroupFlags) -> BalanceFilter? {
    if flags.contains(.data) { return data ?? (flags.contains(.metadata) ? metadata : nil) }
    return flags.contains(.system) ? system : metadata
  }
}

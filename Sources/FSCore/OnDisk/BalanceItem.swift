/// The item that remembers a balance which has not ended: (BALANCE −4, TEMPORARY_ITEM 248, 0) of the
/// root tree, 448 bytes. flags u64; then for data, metadata and system 136 bytes each; 32 of 0.
///
/// The 136 bytes: profiles u64, usage u64 or two u32, devid, pstart, pend, vstart, vend, target,
/// flags u64, limit u64 or two u32, stripes_min u32, stripes_max u32, 48 of 0.
package struct BalanceItem: Sendable, Equatable {
  package static let key = Key(.balance, .temporaryItem, 0)
  package static let size = 448
  private static let filterSize = 136

  package var plan: BalancePlan

  package init(plan: BalancePlan) { self.plan = plan }

  private struct Flags: OptionSet {
    let rawValue: UInt64
    static let data = Self(rawValue: 1 << 0)
    static let system = Self(rawValue: 1 << 1)
    static let metadata = Self(rawValue: 1 << 2)
    static let force = Self(rawValue: 1 << 3)
    static let resume = Self(rawValue: 1 << 5)
  }

  private struct FilterFlags: OptionSet {
    let rawValue: UInt64
    static let profiles = Self(rawValue: 1 << 0)
    static let usage = Self(rawValue: 1 << 1)
    static let device = Self(rawValue: 1 << 2)
    static let deviceRange = Self(rawValue: 1 << 3)
    static let range = Self(rawValue: 1 << 4)
    static let limit = Self(rawValue: 1 << 5)
    static let limitRange = Self(rawValue: 1 << 6)
    static let stripesRange = Self(rawValue: 1 << 7)
    static let convert = Self(rawValue: 1 << 8)
    static let soft = Self(rawValue: 1 << 9)
    static let usageRange = Self(rawValue: 1 << 10)
    static let known: Self = [
      .profiles, .usage, .device, .deviceRange, .range, .limit, .limitRange, .stripesRange,
      .convert, .soft, .usageRange,
    ]
  }

  /// In filters the profile of one copy is a bit of its own.
  private static let single: UInt64 = 1 << 48

  /// Throws `.unsupported` for a balance that cannot be gone on with here, as when it converts to a
  /// profile of several devices.
  package init(_ bytes: RawSpan) throws(FilesystemError) {
    guard bytes.byteCount == Self.size else {
      throw .corrupt("a balance item of \(bytes.byteCount) bytes")
    }
    let flags = Flags(rawValue: bytes.u64(0))
    plan = BalancePlan()
    plan.isForced = flags.contains(.force)
    if flags.contains(.data) { plan.data = try Self.filter(bytes, at: 8) }
    if flags.contains(.metadata) {
      plan.metadata = try Self.filter(bytes, at: 8 + Self.filterSize)
    }
    if flags.contains(.system) {
      plan.system = try Self.filter(bytes, at: 8 + 2 * Self.filterSize)
    }
  }

  private static func filter(
    _ bytes: RawSpan, at start: Int
  ) throws(FilesystemError) -> BalanceFilter {
    var filter = BalanceFilter()
    let flags = FilterFlags(rawValue: bytes.u64(start + 64))
    guard flags.isSubset(of: .known) else {
      throw .unsupported("a balance with filters that are not known here: \(flags.rawValue)")
    }
    if flags.contains(.profiles) {
      // Others have no groups on an image that can be written here.
      let bits = bytes.u64(start)
      filter.profiles = []
      if bits & single != 0 { filter.profiles?.insert(.single) }
      if bits & BlockGroupFlags.dup.rawValue != 0 { filter.profiles?.insert(.dup) }
    }
    if flags.contains(.usageRange) {
      let (low, high) = (bytes.u32(start + 8), bytes.u32(start + 12))
      filter.usage = low..<max(low, high)
    } else if flags.contains(.usage) {
      filter.usage = 0..<UInt32(clamping: bytes.u64(start + 8))
    }
    if flags.contains(.device) { filter.device = DeviceID(bytes.u64(start + 16)) }
    if flags.contains(.deviceRange) {
      let (low, high) = (bytes.u64(start + 24), bytes.u64(start + 32))
      filter.deviceRange = low..<max(low, high)
    }
    if flags.contains(.range) {
      let (low, high) = (bytes.u64(start + 40), bytes.u64(start + 48))
      filter.range = low..<max(low, high)
    }
    if flags.contains(.limitRange) {
      let (low, high) = (bytes.u32(start + 72), bytes.u32(start + 76))
      filter.limit = low...max(low, high)
    } else if flags.contains(.limit) {
      filter.limit = 0...UInt32(clamping: bytes.u64(start + 72))
    }
    if flags.contains(.stripesRange), bytes.u32(start + 80) > 1 {
      throw .unsupported("a balance of groups of several devices")
    }
    if flags.contains(.convert) {
      switch bytes.u64(start + 56) {
      case single, 0: filter.target = .single
      case BlockGroupFlags.dup.rawValue: filter.target = .dup
      case let other: throw .unsupported("a balance that converts to profile \(other)")
      }
    }
    filter.isSoft = flags.contains(.soft)
    return filter
  }

  /// Writes the item. Traps unless `bytes` has exactly `size`.
  package func encode(into bytes: UnsafeMutableRawBufferPointer) {
    precondition(bytes.count == Self.size)
    bytes.zero()
    var flags: Flags = plan.isForced ? .force : []
    let types: [(BalanceFilter?, Flags)] = [
      (plan.data, .data), (plan.metadata, .metadata), (plan.system, .system),
    ]
    for (index, (filter, flag)) in types.enumerated() {
      guard let filter else { continue }
      flags.insert(flag)
      Self.encode(filter, into: bytes, at: 8 + index * Self.filterSize)
    }
    bytes.store(flags.rawValue, at: 0)
  }

  private static func encode(
    _ filter: BalanceFilter, into bytes: UnsafeMutableRawBufferPointer, at start: Int
  ) {
    func bits(_ profile: BalanceFilter.Profile) -> UInt64 {
      profile == .dup ? BlockGroupFlags.dup.rawValue : single
    }
    var flags: FilterFlags = []
    if let profiles = filter.profiles {
      flags.insert(.profiles)
      bytes.store(profiles.reduce(0) { $0 | bits($1) }, at: start)
    }
    if let usage = filter.usage {
      flags.insert(.usageRange)
      bytes.store(usage.lowerBound, at: start + 8)
      bytes.store(usage.upperBound, at: start + 12)
    }
    if let device = filter.device {
      flags.insert(.device)
      bytes.store(device.rawValue, at: start + 16)
    }
    if let range = filter.deviceRange {
      flags.insert(.deviceRange)
      bytes.store(range.lowerBound, at: start + 24)
      bytes.store(range.upperBound, at: start + 32)
    }
    if let range = filter.range {
      flags.insert(.range)
      bytes.store(range.lowerBound, at: start + 40)
      bytes.store(range.upperBound, at: start + 48)
    }
    if let target = filter.target {
      flags.insert(.convert)
      bytes.store(bits(target), at: start + 56)
    }
    if let limit = filter.limit {
      flags.insert(.limitRange)
      bytes.store(limit.lowerBound, at: start + 72)
      bytes.store(limit.upperBound, at: start + 76)
    }
    if filter.isSoft { flags.insert(.soft) }
    bytes.store(flags.rawValue, at: start + 64)
  }
}

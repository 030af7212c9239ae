/// Which parts of the device no chunk has. A plain value: its owner guards it.
///
/// 1. Holes are sorted, apart from one another, and not empty; their ends are multiples of
///    64 KiB, and none lies below 1 MiB.
/// 2. No hole overlaps a stripe of any chunk.
struct DeviceSpace: Sendable {
  private(set) var totalBytes: UInt64
  private(set) var holes: [Range<UInt64>] = []

  /// `extents` are the stripes that exist, in ascending order.
  init(
    totalBytes: UInt64, extents: [(start: UInt64, length: UInt64)]
  ) throws(FilesystemError) {
    self.totalBytes = totalBytes
    var position = Format.reservedAtDeviceStart
    var end: UInt64 = 0
    for extent in extents {
      let (extentEnd, overflow) = extent.start.addingReportingOverflow(extent.length)
      guard extent.length > 0, !overflow, extent.start >= end, extentEnd <= totalBytes else {
        throw .corrupt("device extent at \(extent.start) of \(extent.length) bytes")
      }
      appendHole(position, extent.start)
      end = extentEnd
      position = max(position, extentEnd)
    }
    appendHole(position, totalBytes)
  }

  private mutating func appendHole(_ start: UInt64, _ end: UInt64) {
    let (first, overflow) = start.addingReportingOverflow(Format.stripeLength - 1)
    guard !overflow else { return }
    let start = first.roundedDown(to: Format.stripeLength)
    let end = end.roundedDown(to: Format.stripeLength)
    if start < end { holes.append(start..<end) }
  }

  /// Takes the first hole, or the first `maximum` bytes of it.
  mutating func borrow(maximum: UInt64) -> (start: UInt64, length: UInt64)? {
    guard let hole = holes.first else { return nil }
    let length = min(hole.length, maximum)
    if length == hole.length {
      holes.removeFirst()
    } else {
      holes[0] = hole.lowerBound + length..<hole.upperBound
    }
    return (hole.lowerBound, length)
  }

  /// Gives back a stripe. Ends that are not at multiples of 64 KiB stay unused.
  mutating func giveBack(_ start: UInt64, _ length: UInt64) {
    let lower = max(start, Format.reservedAtDeviceStart).roundedUp(to: Format.stripeLength)
    let upper = min(start + length, totalBytes).roundedDown(to: Format.stripeLength)
    guard lower < upper else { return }
    var index = holes.firstIndex { $0.lowerBound > lower } ?? holes.count
    var hole = lower..<upper
    if index < holes.count, holes[index].lowerBound == hole.upperBound {
      hole = hole.lowerBound..<holes[index].upperBound
      holes.remove(at: index)
    }
    if index > 0, holes[index - 1].upperBound == hole.lowerBound {
      index -= 1
      hole = holes[index].lowerBound..<hole.upperBound
      holes.remove(at: index)
    }
    holes.insert(hole, at: index)
  }

  /// The device is longer, or shorter from now on for new chunks: what stands beyond the end stays
  /// until it is given back, and is then gone.
  mutating func resize(to bytes: UInt64) {
    let old = totalBytes
    totalBytes = bytes
    if bytes > old {
      // `giveBack` leaves parts of 64 KiB at the ends.
      giveBack(
        old.roundedDown(to: Format.stripeLength), bytes - old.roundedDown(to: Format.stripeLength))
      return
    }
    let end = bytes.roundedDown(to: Format.stripeLength)
    holes = holes.compactMap { hole in
      let upper = min(hole.upperBound, end)
      return hole.lowerBound < upper ? hole.lowerBound..<upper : nil
    }
  }

  /// A stripe stands there: what of it is in holes is taken out of them.
  mutating func occupy(_ range: Range<UInt64>) {
    holes = holes.flatMap { hole -> [Range<UInt64>] in
      let before = hole.lowerBound..<max(hole.lowerBound, min(hole.upperBound, range.lowerBound))
      let after = min(hole.upperBound, max(hole.lowerBound, range.upperBound))..<hole.upperBound
      guard hole.overlaps(range) else { return [hole] }
      return [before, after].filter { !$0.isEmpty }
    }
  }

  /// Bytes that no chunk has.
  var unallocated: UInt64 { holes.reduce(0) { $0 + $1.length } }

  /// The longest stripe of which `copies` fit, at most `wanted`.
  func longestStripe(copies: Int, upTo wanted: UInt64) -> UInt64 {
    let lengths = holes.map(\.length).sorted(by: >)
    var longest: UInt64 = 0
    for (index, length) in lengths.prefix(copies).enumerated() {
      // With the `index + 1` largest holes, the smallest of them takes what is left over.
      let share = UInt64((copies + index) / (index + 1))
      longest = max(longest, length / share)
    }
    return min(longest, wanted).roundedDown(to: Format.stripeLength)
  }

  /// Takes `copies` stripes of `length` bytes; nil when they do not fit.
  mutating func take(length: UInt64, copies: Int) -> [PhysicalAddress]? {
    var taken: [PhysicalAddress] = []
    let before = holes
    while taken.count < copies {
      guard let index = holes.firstIndex(where: { $0.length >= length }) else {
        holes = before
        return nil
      }
      let hole = holes[index]
      taken.append(PhysicalAddress(hole.lowerBound))
      let rest = hole.lowerBound + length..<hole.upperBound
      if rest.isEmpty { holes.remove(at: index) } else { holes[index] = rest }
    }
    return taken
  }
}

extension Range<UInt64> {
  /// `count` is an Int, which traps where an image says that a device has more than 2^63 bytes.
  fileprivate var length: UInt64 { upperBound - lowerBound }
}

/// Makes new chunks: finds their place in memory, for the trees to hear of it later. Lock rank:
/// `spaceManager`.
///
/// 1. A new chunk begins where the highest one ends: logical addresses are not used twice.
/// 2. `deviceBytesUsed` counts all chunks, also those whose items are not in the trees yet.
/// 3. `untrimmed` lies within `space`, but for what is borrowed.
final class ChunkAllocator: Sendable {
  private struct State {
    var space: DeviceSpace
    /// The part of `space` that was not discarded since this mount began or a chunk stood there.
    var untrimmed: DeviceSpace
    var logicalEnd: UInt64
    var deviceBytesUsed: UInt64
  }

  private let state: Guarded<State>
  private let geometry: Geometry
  private let deviceID: DeviceID
  private let deviceUUID: UUIDBytes

  init(space: DeviceSpace, chunks: [Chunk], geometry: Geometry, device: DeviceItem) {
    self.geometry = geometry
    deviceID = device.deviceID
    deviceUUID = device.uuid
    let end = chunks.map(\.end.rawValue).max() ?? Format.reservedAtDeviceStart
    state = Guarded(
      State(
        space: space, untrimmed: space, logicalEnd: end, deviceBytesUsed: device.bytesUsed),
      rank: .spaceManager)
  }

  /// Bytes of the device that no chunk has.
  var unallocated: UInt64 { state.withLock { $0.space.unallocated } }

  /// How long the device is for new chunks.
  var totalBytes: UInt64 { state.withLock { $0.space.totalBytes } }

  /// New chunks go below `bytes` from now on. Called by one thread at a time. Growing again after
  /// shrinking needs the chunks that stand there meanwhile.
  func resize(to bytes: UInt64, extents: [(start: UInt64, length: UInt64)]) {
    state.withLock { state in
      state.space.resize(to: bytes)
      state.untrimmed.resize(to: bytes)
      for extent in extents {
        state.space.occupy(extent.start..<extent.start + extent.length)
        state.untrimmed.occupy(extent.start..<extent.start + extent.length)
      }
    }
  }

  /// The place of a new chunk of `flags` (type and profile); nil when there is none.
  func makeChunk(_ flags: BlockGroupFlags) -> Chunk? {
    state.withLock { state in
      let total = state.space.totalBytes
      let wanted = Self.wantedLength(flags, deviceBytes: total)
      let length = state.space.longestStripe(copies: flags.copies, upTo: wanted)
      guard length >= Self.smallestLength, state.logicalEnd < Self.highestStart,
        let places = state.space.take(length: length, copies: flags.copies)
      else { return nil }
      for place in places {
        state.untrimmed.occupy(place.rawValue..<place.rawValue + length)
      }
      let start = state.logicalEnd.roundedUp(to: Format.stripeLength)
      state.logicalEnd = start + length
      state.deviceBytesUsed += length * UInt64(flags.copies)
      let stripes = places.map {
        ChunkItem.Stripe(deviceID: deviceID, offset: $0, deviceUUID: deviceUUID)
      }
      return Chunk(
        start: LogicalAddress(start),
        item: ChunkItem(
          length: length, flags: flags, sectorSize: UInt32(geometry.sectorSize), stripes: stripes))
    }
  }

  /// Takes a part of the first hole that was not trimmed, at most `maximum` bytes, so that no chunk is
  /// made there; `giveBack` undoes it. Nil when all is trimmed.
  func borrowUntrimmed(maximum: UInt64) -> (start: UInt64, length: UInt64)? {
    state.withLock { state in
      guard let taken = state.untrimmed.borrow(maximum: maximum) else { return nil }
      state.space.occupy(taken.start..<taken.start + taken.length)
      return taken
    }
  }

  func giveBack(_ start: UInt64, _ length: UInt64, isTrimmed: Bool) {
    state.withLock { state in
      state.space.giveBack(start, length)
      if !isTrimmed { state.untrimmed.giveBack(start, length) }
    }
  }

  /// The device that chunks are made on.
  var device: DeviceID { deviceID }

  /// The stripes of a chunk that is gone can become others'.
  func giveBack(_ chunk: Chunk) {
    state.withLock { state in
      for stripe in chunk.item.stripes where stripe.deviceID == deviceID {
        state.space.giveBack(stripe.offset.rawValue, chunk.length)
        state.untrimmed.giveBack(stripe.offset.rawValue, chunk.length)
        state.deviceBytesUsed -= chunk.length
      }
    }
  }

  /// Images may have chunks up to the highest address; behind those none is made.
  private static let highestStart = UInt64.max / 2

  /// Below this a chunk is not worth its items.
  static let smallestLength: UInt64 = 1 << 20

  /// The kernel's sizes (format §5.6): a tenth of the device in steps of 16 MiB, with an upper
  /// bound by type. A system chunk holds the chunk tree alone, so ours are smaller where the
  /// device is small.
  static func wantedLength(_ flags: BlockGroupFlags, deviceBytes: UInt64) -> UInt64 {
    let tenth = max((deviceBytes / 10).roundedUp(to: 16 << 20), 16 << 20)
    if flags.contains(.data) { return min(1 << 30, tenth) }
    if flags.contains(.metadata) {
      return min(deviceBytes > 50 << 30 ? 1 << 30 : 256 << 20, tenth)
    }
    return min(32 << 20, max((deviceBytes / 64).roundedDown(to: 1 << 20), 1 << 20))
  }
}
